"""Repositories to follow: a bare one, the people who push to it, and the keys that they sign with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ADA = ("Ada Lovelace", "ada@example.org")
MALLORY = ("Mallory", "mallory@example.com")
Files = Mapping[str, "Mapping[str, Any] | str | bytes | None"]  # None: delete it


def git(where: Path, *words: str | Path, env: Mapping[str, str] | None = None, text: str = "") -> str:
    """A git command as a person gives it, but not with this machine's settings. Raises with what git said."""
    done = subprocess.run(
        ["git", *words],
        cwd=where,
        env=environment(env),
        input=text.encode(),
        capture_output=True,
        check=False,
    )
    said = done.stderr.decode(errors="replace")
    assert done.returncode == 0, f"git {' '.join(map(str, words))}: {done.returncode}\n{said}"
    return done.stdout.decode(errors="replace").strip()


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    return {**kept, **own, **(more or {})}


@dataclass
class Signer:
    """A key that commits and tags are signed with. `config`: the git settings for it; `public`: what a host
    is given to trust it, a line of an allowed-signers file or an armoured GPG key."""

    config: Mapping[str, str]
    public: str
    env: Mapping[str, str] = field(default_factory=dict)
    home: Path | None = None

    def close(self) -> None:
        """End the agent that GPG started."""
        if self.home is not None:
            subprocess.run(["gpgconf", "--homedir", self.home, "--kill", "all"], check=False)
            shutil.rmtree(self.home, ignore_errors=True)


def ssh_signer(home: Path, who: tuple[str, str] = ADA) -> Signer:
    key = ssh_key(home / f"signing-{who[0].split()[0].lower()}", who[1])
    public = key.with_suffix(".pub").read_text().rsplit(" ", 1)[0]
    config = {"gpg.format": "ssh", "user.signingKey": str(key)}
    return Signer(config, f'{who[1]} namespaces="git" {public}\n')


def gpg_signer(who: tuple[str, str] = ADA) -> Signer:
    home = Path(tempfile.mkdtemp(prefix="tw-gpg-"))  # the path of its agent's socket has to be short
    gpg = [
        "gpg",
        "--homedir",
        str(home),
        "--batch",
        "--quiet",
        "--pinentry-mode",
        "loopback",
        "--passphrase",
        "",
    ]
    name = f"{who[0]} <{who[1]}>"
    subprocess.run(
        [*gpg, "--quick-gen-key", name, "ed25519", "sign", "never"], check=True, capture_output=True
    )
    exported = subprocess.run([*gpg, "--export", "--armor"], check=True, capture_output=True, text=True)
    config = {"gpg.format": "openpgp", "user.signingKey": who[1]}
    return Signer(config, exported.stdout, {"GNUPGHOME": str(home)}, home)


def ssh_key(path: Path, comment: str = "test") -> Path:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    subprocess.run(words, check=True, capture_output=True)
    return path


def _settings(signer: Signer | None) -> list[str]:
    return [word for pair in (signer.config.items() if signer else ()) for word in ("-c", "=".join(pair))]


class Remote:
    """A bare repository with one branch, and the clone of somebody who pushes to it."""

    def __init__(self, home: Path, name: str = "specs") -> None:
        self.bare, self.work = home / f"{name}.git", home / f"{name}-work"
        home.mkdir(parents=True, exist_ok=True)
        git(home, "init", "-q", "--bare", "-b", "main", self.bare)
        git(home, "clone", "-q", self.bare, self.work)
        for key, value in (("user.name", ADA[0]), ("user.email", ADA[1]), ("gc.auto", "0")):
            git(self.work, "config", key, value)
        git(self.work, "symbolic-ref", "HEAD", "refs/heads/main")
        for key in ("uploadpack.allowFilter", "http.receivepack"):
            git(self.bare, "config", key, "true")

    @property
    def head(self) -> str:
        """The commit that the branch is at, as the remote has it."""
        return git(self.bare, "rev-parse", "refs/heads/main")

    @property
    def file_url(self) -> str:
        return f"file://{self.bare}"

    def commit(
        self, subject: str, changes: Files, *, signer: Signer | None = None, who: tuple[str, str] = ADA
    ) -> str:
        """Commit files, not yet pushed: a mapping is a spec, a text is itself, None deletes."""
        for name, content in changes.items():
            self._write(self.work / name, content)
        git(self.work, "add", "-A")
        return self.seal(subject, signer=signer, who=who)

    def seal(self, subject: str, *, signer: Signer | None = None, who: tuple[str, str] = ADA) -> str:
        """Commit what is in the index."""
        author = ["-c", f"user.name={who[0]}", "-c", f"user.email={who[1]}"]
        words = ["commit", "-q", "--allow-empty", "-m", subject, *(["-S"] if signer else [])]
        git(self.work, *author, *_settings(signer), *words, env=signer.env if signer else None)
        return git(self.work, "rev-parse", "HEAD")

    @staticmethod
    def _write(path: Path, content: Mapping[str, Any] | str | bytes | None) -> None:
        if content is None:
            path.unlink()
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1) + "\n")

    def push(
        self, subject: str, changes: Files, *, signer: Signer | None = None, who: tuple[str, str] = ADA
    ) -> str:
        """Commit files, and push. Returns the commit."""
        sha = self.commit(subject, changes, signer=signer, who=who)
        self.publish()
        return sha

    def publish(self, *, force: bool = False, ref: str = "HEAD:refs/heads/main") -> None:
        git(self.work, "push", "-q", *(["--force"] if force else []), "origin", ref)

    def revert(self, sha: str) -> str:
        """Push a commit that takes back what another one did."""
        git(self.work, "revert", "--no-edit", sha)
        self.publish()
        return self.head

    def rewind(self, sha: str) -> None:
        """Set the branch back, as `git push --force` does."""
        git(self.work, "reset", "-q", "--hard", sha)
        self.publish(force=True)

    def tag(self, name: str, *, signer: Signer | None = None) -> None:
        """Push a tag of the newest commit: an annotated one when it is signed."""
        words = ["tag", *(["-s", "-m", name] if signer else []), name]
        git(self.work, *_settings(signer), *words, env=signer.env if signer else None)
        self.publish(ref=f"refs/tags/{name}")
