"""What git says, in our words: the kind of fault, one sentence, and what to do. Pure."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from timewright.core.masking import mask, printable


class Fault(StrEnum):
    """What kind of thing went wrong with a repository."""

    UNREACHABLE = "unreachable"  # the network, the host, the server: try again
    REFUSED = "refused"  # the remote knows us not, or not well enough
    NO_REF = "no such ref"
    CORRUPT = "corrupt"  # our own clone is damaged: it is made anew
    DISK = "disk"
    OTHER = "other"


#: In order: pattern of what git, ssh or curl print → fault, sentence, hint. `{0}`, `{1}`: the groups.
_WORDS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), fault, sentence, hint)
    for pattern, fault, sentence, hint in (
        (
            r"No space left on device|Disk quota exceeded",
            Fault.DISK,
            "the disk is full",
            "make room in the data directory",
        ),
        (r"Read-only file system", Fault.DISK, "the data directory is read-only", ""),
        (
            r"Could not resolve host(?:name)?:? ([^\s;:]+)",
            Fault.UNREACHABLE,
            "the host {0} can't be found",
            "check the URL and the name service",
        ),
        (
            r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED|host key is known for",
            Fault.REFUSED,
            "the ssh host key is not known, or has changed",
            "check it, and add it to known_hosts (source.known_hosts)",
        ),
        (
            r"Permission denied \(([^)]*)\)|Load key .*: (?:invalid format|error in libcrypto)",
            Fault.REFUSED,
            "the ssh key is not accepted",
            "check source.ssh_key, and that the deploy key may read this repository",
        ),
        (
            r"UNPROTECTED PRIVATE KEY FILE",
            Fault.REFUSED,
            "the ssh key can be read by others, so ssh does not use it",
            "chmod 600 the key of source.ssh_key",
        ),
        (
            r"could not read (?:Username|Password)|Authentication failed|HTTP Basic: Access denied|"
            r"requested URL returned error: (?:401|403)",
            Fault.REFUSED,
            "the remote does not let us in",
            "check source.token_file (and source.username): the token needs read access to the repository",
        ),
        (
            r"repository '?.*'? not found|requested URL returned error: (?:404|410)|"
            r"does not appear to be a git repository|Repository not found|project you were looking for",
            Fault.REFUSED,
            "there is no such repository, or we may not see it",
            "check source.git and the rights of its token or key",
        ),
        (
            r"couldn't find remote ref (\S+)|Remote branch (\S+) not found",
            Fault.NO_REF,
            "the remote has no {0}",
            "check source.ref",
        ),
        (
            r"not our ref|Server does not allow request for unadvertised object",
            Fault.NO_REF,
            "the remote does not have that commit, or does not hand it out",
            "check source.ref",
        ),
        (
            r"SSL certificate|certificate verif|server certificate|unable to get local issuer",
            Fault.REFUSED,
            "the TLS certificate of the remote can't be verified",
            "have its CA in the system's store, or git config --system http.sslCAInfo",
        ),
        (
            r"transport '([^']*)' not allowed",
            Fault.REFUSED,
            "the transport {0} is not allowed",
            "use https, ssh, http, file or git",
        ),
        (
            r"detected dubious ownership",
            Fault.REFUSED,
            "the repository belongs to another user",
            "git config --global --add safe.directory PATH, if you trust it",
        ),
        (
            r"Connection refused|Connection timed out|Connection reset|Network is unreachable|"
            r"No route to host|Failed to connect|Operation timed out|Connection closed|"
            r"Couldn't connect to server|Could not connect",
            Fault.UNREACHABLE,
            "the remote does not answer",
            "",
        ),
        (
            r"requested URL returned error: (\d+)",
            Fault.UNREACHABLE,
            "the remote answers with HTTP {0}",
            "",
        ),
        (
            r"early EOF|hung up unexpectedly|RPC failed|curl \d+|unexpected disconnect|fetch-pack: invalid|"
            r"Could not read from remote repository|transfer closed|Empty reply from server",
            Fault.UNREACHABLE,
            "the connection broke off",
            "",
        ),
        (
            r"fsck error|unable to parse|did not receive expected object|remote did not send all necessary",
            Fault.OTHER,
            "the remote sent objects that are damaged",
            "git fsck on the remote",
        ),
        (
            r"bad object|object file .* is empty|loose object .* is corrupt|missing (?:blob|tree|commit)|"
            r"packfile .* (?:cannot be|is|does not match)|bad tree object|inflate:|unable to (?:read|unpack)|"
            r"pack has bad|not a git repository|invalid object|index file .* (?:is|corrupt)|"
            r"error in object|could not read .*\.idx|reference broken|bad ref|unable to find [0-9a-f]{40}|"
            r"Could not read [0-9a-f]{40}|bad config |invalid (?:sha1|index) |failed to read object|"
            r"hash mismatch",
            Fault.CORRUPT,
            "our clone is damaged",
            "",
        ),
    )
)
_NOISE: Final = re.compile(
    r"^(?:warning:|hint:|remote:\s*$|From |Please make sure|and the repository exists|Cloning into)"
)


def explain(stderr: str, code: int) -> tuple[Fault, str, str]:
    """Fault, sentence and hint for what a git command printed before it ended with `code`."""
    for pattern, fault, sentence, hint in _WORDS:
        if found := pattern.search(stderr):
            groups = [mask(printable(group)) for group in found.groups() if group]
            return fault, sentence.format(*groups) if groups else _without(sentence), hint
    lines = [line for line in map(str.strip, stderr.splitlines()) if line and not _NOISE.match(line)]
    said = lines[-1].removeprefix("fatal: ").removeprefix("error: ") if lines else "no word why"
    return Fault.OTHER, f"git ended with {code}: {mask(printable(' '.join(said.split())))[:300]}", ""


def _without(sentence: str) -> str:
    return sentence.replace("{0}", "that")
