"""What a confined process can and can't do, asked of a real one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from timewright.edge import confine, process
from timewright.edge.process import Confine

pytestmark = pytest.mark.skipif(confine.abi() < 6, reason="Landlock of this kernel knows no signals")

#: Runs words of Python and says 'done', or the name of the error that stopped it.
PROBE = """
import errno, sys
try:
    exec(sys.argv[1])
except OSError as error:
    print(errno.errorcode.get(error.errno, error))
else:
    print('done')
"""


#: Attaches to a process as a debugger does.
TRACE = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
if libc.ptrace(16, {}, 0, 0) < 0:
    raise OSError(ctypes.get_errno(), 'ptrace')
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Two trees: one that is given, one that isn't."""
    for name in ("given", "kept"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("text")
    (tmp_path / "given" / "link").symlink_to(tmp_path / "kept" / "file")
    (tmp_path / "kept" / "link").symlink_to(tmp_path / "given" / "file")
    return tmp_path


async def probe(
    words: str, *, read: tuple[Path, ...] = (), write: tuple[Path, ...] = (), net: bool = False
) -> str:
    """What comes of some Python in a cage."""
    cage = Confine((Path(sys.base_prefix), *read), write, net)
    done = await process.run(
        [Path(sys.executable).resolve(), "-I", "-S", "-c", PROBE, words], timeout=30, confine=cage
    )
    assert done.code == 0, done.stderr
    return done.stdout.decode().strip()


@pytest.mark.parametrize(
    ("words", "came"),
    [
        ("open('{0}/given/file').read()", "done"),
        ("open('{0}/kept/file').read()", "EACCES"),
        ("open('{0}/given/link').read()", "EACCES"),
        ("open('{0}/kept/link').read()", "done"),
        ("open('{0}/given/../kept/file').read()", "EACCES"),
        ("import os; os.listdir('{0}/given')", "done"),
        ("import os; os.listdir('{0}/kept')", "EACCES"),
        ("import os; os.listdir('{0}')", "EACCES"),
        ("open('{0}/given/file', 'w')", "EACCES"),
        ("open('{0}/given/new', 'w')", "EACCES"),
        ("import os; os.truncate('{0}/given/file', 0)", "EACCES"),
        ("import os; os.unlink('{0}/given/file')", "EACCES"),
        ("import os; os.link('{0}/kept/file', '{0}/given/other')", "EACCES"),
        ("open('/etc/hosts').read()", "done"),
        ("open('/etc/shadow').read()", "EACCES"),
        ("open('/etc/hostname').read()", "EACCES"),
        ("open('/dev/null', 'w').write('x')", "done"),
        ("open('/dev/urandom', 'rb').read(4)", "done"),
        ("open('/proc/self/environ').read()", "done"),
        ("open('/proc/1/environ').read()", "EACCES"),
        ("open('/proc/meminfo').read()", "done"),
    ],
)
async def test_only_what_is_given_can_be_read(home: Path, words: str, came: str) -> None:
    assert await probe(words.format(home), read=(home / "given",)) == came


@pytest.mark.parametrize(
    ("words", "came"),
    [
        ("open('{0}/given/new', 'w')", "done"),
        ("import os; os.mkdir('{0}/given/d'); os.rename('{0}/given/file', '{0}/given/d/file')", "done"),
        ("import os; os.rename('{0}/given/file', '{0}/kept/taken')", "EACCES"),
        ("import os; os.rename('{0}/kept/file', '{0}/given/taken')", "EACCES"),
        ("import os; os.symlink('{0}/kept/file', '{0}/given/s'); open('{0}/given/s').read()", "EACCES"),
        ("import os; os.chmod('{0}/given/file', 0o600)", "done"),
    ],
)
async def test_what_may_be_changed_gives_no_way_to_the_rest(home: Path, words: str, came: str) -> None:
    assert await probe(words.format(home), write=(home / "given",)) == came


@pytest.mark.parametrize("net", [True, False])
async def test_the_network_is_there_only_where_it_is_given(net: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        words = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}))"
        assert await probe(words, net=net) == ("done" if net else "EACCES")
    datagram = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
    assert await probe(datagram, net=net) == ("done" if net else "EACCES")


@pytest.mark.parametrize("net", [True, False])
async def test_no_unix_socket_is_reached_by_its_path(net: bool) -> None:
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{short}/api.sock")
        server.listen()
        words = f"import socket; socket.socket(socket.AF_UNIX).connect('{short}/api.sock')"
        assert await probe(words, net=net, write=(Path(short),)) == "EACCES"
    assert await probe("import socket; socket.socketpair()", net=net) == "done"


async def test_a_process_outside_is_not_signalled_and_not_looked_into() -> None:
    us = os.getpid()
    assert await probe(f"import os; os.kill({us}, 0)") == "EPERM"
    for name in ("environ", "mem", "maps", "cmdline"):
        assert await probe(f"open('/proc/{us}/{name}')") == "EACCES", name
    assert await probe(TRACE.format(us)) == "EPERM"
    assert (
        await probe("import os, signal; signal.signal(10, lambda *_: None); os.kill(os.getpid(), 10)")
        == "done"
    )


async def test_a_child_of_a_confined_process_is_confined(home: Path) -> None:
    words = f"import os, sys; sys.exit(os.spawnv(os.P_WAIT, '/bin/cat', ['cat', '{home}/kept/file']))"
    done = await process.run(
        [Path(sys.executable).resolve(), "-I", "-S", "-c", words],
        timeout=30,
        confine=Confine((Path(sys.base_prefix),)),
    )
    assert done.code == 1
    assert b"Permission denied" in done.stderr


async def test_what_is_missing_when_it_starts_is_passed_over(home: Path) -> None:
    assert await probe("pass", read=(home / "nothing",), write=(home / "nowhere",)) == "done"


async def test_a_program_that_lies_elsewhere_can_be_run_all_the_same(home: Path) -> None:
    program = home / "kept" / "true"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)
    assert (await process.run([program], timeout=30, confine=Confine())).code == 0


async def test_a_program_that_is_not_there_is_said_as_without_a_cage() -> None:
    with pytest.raises(FileNotFoundError):
        await process.run(["/no/such/program"], timeout=30, confine=Confine())


async def test_no_descriptor_is_left_behind() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        await process.run(["/bin/true"], timeout=30, confine=Confine())
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


# The program ----------------------------------------------------------------------------------


def script(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", str(confine.__file__), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_the_program_becomes_the_command_in_its_cage(home: Path) -> None:
    given, kept = home / "given" / "file", home / "kept" / "file"
    done = script("--read", home / "given", "--", "cat", given, kept)
    assert done.stdout == "text"
    assert "Permission denied" in done.stderr


def test_the_program_writes_where_it_is_told(home: Path) -> None:
    assert script("--write", home / "given", "--", "touch", home / "given" / "new").returncode == 0
    assert script("--read", home / "given", "--", "touch", home / "given" / "other").returncode == 1


def test_the_program_says_whether_it_can() -> None:
    done = script("--check")
    assert (done.returncode, done.stdout) == (0, f"Landlock {confine.abi()}\n")


@pytest.mark.parametrize("words", [("--red", "/x", "--", "true"), ("--read",), ("--read", "/x"), ("--",)])
def test_the_program_refuses_words_that_it_does_not_know(words: tuple[str, ...]) -> None:
    done = script(*words)
    assert done.returncode == 1
    assert done.stderr.startswith("confine.py: ")


def test_the_program_says_what_can_not_be_run() -> None:
    assert (
        script("--", "no-such-command").stderr
        == "confine.py: no-such-command can't be run: No such file or directory\n"
    )


# Older kernels, and none of it ----------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
async def test_an_older_kernel_holds_what_it_knows(
    home: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    monkeypatch.setattr(confine, "abi", lambda: version)
    given = (home / "given",)
    assert await probe(f"open('{home}/given/file').read()", read=given) == "done"
    assert await probe(f"open('{home}/kept/file').read()", read=given) == "EACCES"
    assert await probe(f"open('{home}/given/new', 'w')", write=given) == "done"
    assert await probe(f"open('{home}/kept/new', 'w')", write=given) == "EACCES"


async def test_without_landlock_children_run_as_before(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confine, "abi", lambda: 0)
    assert await probe(f"open('{home}/kept/file').read()") == "done"
    assert "no Landlock" in process.confinement()
