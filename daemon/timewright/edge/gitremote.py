"""Talks to a remote repository: who we are to it, what it has, and fetching; and checks signatures.

Authentication is git's own: ssh keys, credential helpers, proxies and CAs of this user's git count. A token
or key of ours is given for one command; it is in no argument that a process list shows.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from timewright.core.gitrefs import parse_ls_remote
from timewright.core.gitwords import Fault
from timewright.edge import files, process
from timewright.edge.git import GitError, run

FETCHED = "refs/timewright/fetched"  # what was fetched last, perhaps not yet trusted
ADOPTED = "refs/timewright/adopted"  # what is desired; both keep their commits from being pruned
TAG = "refs/timewright/tag"

_PROTOCOLS = "file:git:http:https:ssh"
_CLONE_PATIENCE = 10  # times a fetch's time for the first one
_MOST_TOKEN = 64 * 1024
_WATCH_S = 0.5  # seconds between looks at how much a fetch has brought

#: Objects of a hostile remote are checked as they come. What old tools left in honest histories passes.
_FETCH = {
    "transfer.fsckObjects": "true",
    **{
        f"fetch.fsck.{fault}": "ignore"
        for fault in (
            *("missingSpaceBeforeDate", "zeroPaddedFilemode", "badTimezone", "missingNameBeforeEmail"),
            *("missingEmail", "badDate", "zeroPaddedDate", "missingSpaceBeforeEmail", "gitmodulesParse"),
            *("gitmodulesUrl", "gitmodulesName", "gitmodulesPath", "gitmodulesSymlink", "gitmodulesUpdate"),
        )
    },
    "fetch.writeCommitGraph": "false",
    "fetch.recurseSubmodules": "false",
    "transfer.bundleURI": "false",
    "protocol.version": "2",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "30",
}
#: All that our clone is told; whatever else stands there is somebody else's.
_CONFIG = b"[core]\n\trepositoryformatversion = 0\n\tbare = true\n"
#: A shell function, as git wants one; the secret is in its environment only.
_HELPER = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$TW_GIT_USER" "$TW_GIT_TOKEN"; }; f'
)


@dataclass(frozen=True)
class Access:
    """How to reach a repository. `timeout`: seconds for one fetch; the first may take ten times that.
    `most`: bytes that the clone may take on disk."""

    url: str
    username: str = ""
    token_file: Path | None = None
    ssh_key: Path | None = None
    known_hosts: Path | None = None
    timeout: float = 120.0
    sparse: bool = False  # contents only as they are asked for
    most: int = 2 * 1024**3


class Remote:
    """One remote repository, and our bare clone of it."""

    def __init__(self, access: Access, git_dir: Path) -> None:
        self.access = access
        self.git_dir = git_dir

    async def refs(self, *names: str) -> tuple[str, Mapping[str, str]]:
        """The remote's default branch and its refs that match `names`. Raises GitError."""
        words = ["ls-remote", "--symref", "--", self.access.url, *names]
        env = await self._environment()
        done = await run(words, env=env, config=_FETCH, timeout=min(self.access.timeout, 60.0))
        return parse_ls_remote(done.stdout.decode("utf-8", "replace"))

    async def fetch(self, *refspecs: str, depth: int = 0, deepen: int = 0) -> None:
        """Fetch refs of the remote; all that they need is here afterwards, or GitError is raised and nothing
        has changed. `depth`: commits of history, 0 for all. `deepen`: so many more."""
        self._prepare()
        words: list[str | Path] = ["--git-dir", self.git_dir, "fetch", "--quiet", "--no-tags", "--force"]
        words += ["--no-recurse-submodules", "--no-write-fetch-head", "--no-auto-maintenance"]
        if depth or deepen:
            words.append(f"--deepen={deepen}" if deepen else f"--depth={depth}")
        elif (self.git_dir / "shallow").exists():
            words.append("--unshallow")
        first = not (self.git_dir / "refs" / "timewright").exists()
        patience = self.access.timeout * (_CLONE_PATIENCE if first else 1)
        await self._fetch(words, refspecs, patience)

    async def fetch_blobs(self, oids: Sequence[str]) -> None:
        """Fetch contents that a sparse fetch has left out. Raises GitError."""
        words: list[str | Path] = ["--git-dir", self.git_dir, "fetch", "--quiet", "--no-tags", "--stdin"]
        words += ["--no-recurse-submodules", "--no-write-fetch-head", "--no-auto-maintenance"]
        lines = "".join(f"{oid}\n" for oid in oids).encode()
        await self._fetch(words, (), self.access.timeout * _CLONE_PATIENCE, lines)

    async def _fetch(
        self, words: list[str | Path], refspecs: Sequence[str], patience: float, stdin: bytes | None = None
    ) -> None:
        config = dict(_FETCH)
        if self.access.sparse:
            config |= {"fetch.negotiationAlgorithm": "noop"} if stdin is not None else {}
            config |= {f"remote.origin.{key}": value for key, value in self._promisor().items()}
            words = [*words, "--filter=blob:none", "--", "origin"]
        else:
            words = [*words, "--", self.access.url]
        env = await self._environment()
        fetching = asyncio.ensure_future(
            run([*words, *refspecs], env=env, config=config, timeout=patience, stdin=stdin)
        )
        try:
            await self._bounded(fetching)
        finally:
            self._configure()  # git has noted down that it may fetch what is missing: reading never does

    def _promisor(self) -> dict[str, str]:
        """What makes a remote one of a partial clone, for one command."""
        return {"url": self.access.url, "promisor": "true", "partialclonefilter": "blob:none"}

    async def _bounded(self, fetching: asyncio.Future[process.Finished]) -> None:
        """Wait for a fetch, and end it when it brings more than the clone may have."""
        try:
            while not (await asyncio.wait([fetching], timeout=_WATCH_S))[0]:
                if await asyncio.to_thread(size, self.git_dir) > self.access.most:
                    fetching.cancel()
                    await asyncio.wait([fetching])
                    raise GitError(
                        Fault.DISK,
                        f"the clone would take more than {self.access.most // 1024**2} MiB",
                        hint="raise source.max_clone_mib, or set source.depth = 1",
                    )
            await fetching
        finally:
            fetching.cancel()

    def _prepare(self) -> None:
        """Our bare repository, without what a killed git left in it."""
        if not (self.git_dir / "HEAD").is_file():
            shutil.rmtree(self.git_dir, ignore_errors=True)
            (self.git_dir / "objects" / "pack").mkdir(parents=True)
            (self.git_dir / "refs").mkdir()
            files.write(self.git_dir / "HEAD", b"ref: refs/heads/none\n")
        self._configure()
        sweep(self.git_dir)

    def _configure(self) -> None:
        if self.git_dir.is_dir() and not _holds(self.git_dir / "config", _CONFIG):
            files.replace(self.git_dir / "config", _CONFIG)

    def rebuild(self) -> None:
        """Throw the clone away; the next fetch makes a new one."""
        shutil.rmtree(self.git_dir, ignore_errors=True)

    async def keep(self, ref: str, sha: str) -> None:
        """Have a commit survive the next clean-up."""
        await run(["--git-dir", self.git_dir, "update-ref", ref, sha])

    async def tidy(self, config: Mapping[str, str]) -> None:
        """Pack the clone anew when `config` (gc.auto, gc.autoPackLimit) says that it is time."""
        words: list[str | Path] = ["--git-dir", self.git_dir, "gc", "--auto", "--quiet"]
        pruned = {"gc.pruneExpire": "1.day.ago", "gc.reflogExpire": "now"}
        if self.access.sparse:
            pruned |= {f"remote.origin.{key}": value for key, value in self._promisor().items()}
        await run(words, config={**pruned, **config}, timeout=self.access.timeout * _CLONE_PATIENCE)

    # who we are

    async def _environment(self) -> dict[str, str]:
        """Raises GitError when the token can't be read: it is read again for each command."""
        found = {"GIT_ALLOW_PROTOCOL": _PROTOCOLS, "GIT_SSH_COMMAND": await self._ssh()}
        token = self._token()
        if token:
            parts = urlsplit(self.access.url)
            host = parts.netloc.rpartition("@")[2]
            found |= {
                "GIT_CONFIG_COUNT": "2",
                "GIT_CONFIG_KEY_0": "credential.helper",
                "GIT_CONFIG_VALUE_0": "",
                "GIT_CONFIG_KEY_1": f"credential.{parts.scheme}://{host}.helper",
                "GIT_CONFIG_VALUE_1": _HELPER,
                "TW_GIT_USER": self.access.username or "x-access-token",
                "TW_GIT_TOKEN": token,
            }
        return found

    async def _ssh(self) -> str:
        """The ssh command, as the environment or this user's git has it, with what we add to it."""
        access, base = self.access, os.environ.get("GIT_SSH_COMMAND", "")
        for scope in ("--global", "--system"):
            if not base:
                found = await run(["config", scope, "--get", "core.sshCommand"], ok=(0, 1, 128))
                base = found.stdout.decode("utf-8", "replace").strip()
        base = base or "ssh"
        words = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15"]
        if access.ssh_key is not None:
            words += ["-i", str(access.ssh_key), "-o", "IdentitiesOnly=yes"]
        if access.known_hosts is not None:
            words += ["-o", f"UserKnownHostsFile={access.known_hosts}", "-o", "StrictHostKeyChecking=yes"]
        return f"{base} {shlex.join(words)}"

    def _token(self) -> str:
        path = self.access.token_file
        if path is None:
            return ""
        try:
            with path.open("rb") as file:
                token = file.read(_MOST_TOKEN).decode("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise GitError(
                Fault.REFUSED, f"the token file {path} can't be read: {why}", hint="check source.token_file"
            ) from None
        if not token or any(not char.isprintable() for char in token):
            raise GitError(Fault.REFUSED, f"the token file {path} holds no token", hint="one line, the token")
        return token


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        return False


def sweep(git_dir: Path) -> None:
    """Remove the locks and half packs that a killed git left: we hold the data directory's lock, and run
    one git at a time on a clone."""
    for pattern in (
        "*.lock",
        "refs/**/*.lock",
        "objects/pack/tmp_*",
        "objects/pack/*.lock",
        "objects/*/tmp_obj_*",
    ):
        for path in git_dir.glob(pattern):
            with suppress(OSError):
                path.unlink()
    for path in git_dir.glob("objects/tmp_objdir-*"):
        shutil.rmtree(path, ignore_errors=True)


def size(root: Path) -> int:
    """Bytes on disk below a directory; what vanishes meanwhile counts as nothing."""
    total = 0
    for directory, _, names in os.walk(root):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(directory, name)).st_size  # noqa: PTH118 - 4 x faster
    return total


# Signatures ------------------------------------------------------------------------------------


class Signers:
    """Whose signatures count: an SSH allowed-signers file, a file of GPG public keys, or both. Keys that
    this user's own GPG knows don't."""

    def __init__(self, home: Path, signers: Path | None, keyring: Path | None) -> None:
        """`home`: a directory of our own for the keys."""
        self._home, self._signers, self._keyring = home, signers, keyring

    async def check_commit(self, git_dir: Path, sha: str) -> str:
        """'' when a commit has a good signature of one of them; else why not. Raises GitError when that can't
        be told."""
        return await self._check(git_dir, "verify-commit", sha)

    async def check_tag(self, git_dir: Path, tag: str, name: str) -> str:
        """The same for an annotated tag, which has to be the one of that `name`: a good tag under another
        name is somebody's trick."""
        kind = await run(["--git-dir", git_dir, "cat-file", "-t", tag], ok=(0, 128))
        if kind.stdout.strip() != b"tag":
            return "it is not an annotated tag, so it can't be signed"
        content = (await run(["--git-dir", git_dir, "cat-file", "tag", tag])).stdout
        lines = content.partition(b"\n\n")[0].split(b"\n")
        if b"tag " + os.fsencode(name) not in lines:
            return "it was signed under another name"
        return await self._check(git_dir, "verify-tag", tag)

    async def _check(self, git_dir: Path, verb: str, what: str) -> str:
        config = {
            "gpg.program": "gpg",
            "gpg.openpgp.program": "gpg",
            "gpg.x509.program": "false",
            "gpg.ssh.program": "ssh-keygen",
            "gpg.ssh.allowedSignersFile": str(self._readable(self._signers) or os.devnull),
            "gpg.minTrustLevel": "undefined",
        }
        home = await self._import()
        done = await run(
            ["--git-dir", git_dir, verb, "--raw", what],
            env={"GNUPGHOME": str(home)},
            config=config,
            ok=(0, 1),
        )
        return "" if done.code == 0 else _why_unsigned(done.stderr.decode("utf-8", "replace"))

    async def _import(self) -> Path:
        """A GPG home with the keys of the keyring and no others, made anew when the file changes."""
        path = self._readable(self._keyring)
        stamp = "none"
        if path is not None:
            status = path.stat()
            stamp = f"{status.st_mtime_ns}-{status.st_size}-{status.st_ino}"
        home = self._home / f"gnupg-{stamp}"
        if home.is_dir():
            return home
        for old in self._home.glob("gnupg-*"):
            shutil.rmtree(old, ignore_errors=True)
        making = self._home / files.unique("gnupg-")
        making.mkdir(parents=True, mode=0o700)
        if path is not None:
            await _gpg_import(making, path)
        making.rename(home)
        return home

    @staticmethod
    def _readable(path: Path | None) -> Path | None:
        if path is not None and not os.access(path, os.R_OK):
            raise GitError(
                Fault.REFUSED,
                f"{path} can't be read, so no signature can be checked",
                hint="check source.signers and source.keyring",
            )
        return path


async def _gpg_import(home: Path, keys: Path) -> None:
    """A GPG home whose keyring is that file. Not by `gpg --import`: it starts an agent, whose socket needs a
    shorter path than ours may be."""
    data = keys.read_bytes()
    if b"-----BEGIN PGP" in data:
        data = (await _gpg(home, "--dearmor", stdin=data)).stdout
    files.write(home / "pubring.gpg", data, mode=0o600)
    listed = await _gpg(home, "--list-keys", "--with-colons")
    if b"\npub:" not in b"\n" + listed.stdout:
        raise GitError(
            Fault.REFUSED, f"{keys} holds no GPG public keys", hint="gpg --export --armor KEY… > FILE"
        )


async def _gpg(home: Path, *words: str, stdin: bytes | None = None) -> process.Finished:
    command: Sequence[str | Path] = ["gpg", "--homedir", home, "--batch", "--quiet", "--no-autostart", *words]
    try:
        return await process.run(command, stdin=stdin, timeout=30.0)
    except (OSError, TimeoutError):
        raise GitError(
            Fault.REFUSED, "gpg can't be run, so no signature can be checked", hint="install gnupg"
        ) from None


def _why_unsigned(said: str) -> str:
    """What git, gpg or ssh-keygen say of a signature that isn't good, in a few words."""
    for sign, words in (
        ("BADSIG", "its signature is wrong: it was changed after it was signed"),
        ("Signature verification failed", "its signature is wrong: it was changed after it was signed"),
        ("EXPKEYSIG", "the key that signed it has expired"),
        ("EXPSIG", "its signature has expired"),
        ("REVKEYSIG", "the key that signed it was revoked"),
        ("NO_PUBKEY", "it is signed with a key that is not among the trusted ones"),
        ("No principal matched", "it is signed with a key that is not among the trusted ones"),
        ("GOODSIG", "its signature is not trusted"),
    ):
        if sign in said:
            return words
    return "it is not signed" if not said.strip() else "its signature can't be verified"
