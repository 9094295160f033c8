"""What a confined process can and can't do, asked of a real one."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
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

#: Makes a call by its name on this machine, which Python may have no function for.
CALL = """
import ctypes, os, platform, struct
libc = ctypes.CDLL(None, use_errno=True)
AT, TIMES, PARAM, ATTR = -100, bytes(32), bytes(4), struct.pack('<IIQiIQQQ', 48, 0, 0, 0, 0, 0, 0, 0)
XATTR = struct.pack('<QII', 0, 0, 0)
def call(names, *args):
    number = names[0 if platform.machine() == 'x86_64' else 1]
    if number is None:
        raise PermissionError(1, 'there is no such call')
    words = [word if isinstance(word, bytes) or word is None else ctypes.c_long(word) for word in args]
    if libc.syscall(ctypes.c_long(number), *words) < 0:
        raise OSError(ctypes.get_errno(), 'call')
"""


def call(name: str, args: str) -> str:
    """Words for `probe`: this call with these arguments."""
    return f"{CALL}call({(confine._CALLS | confine._MODES)[name]}, {args})"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Two trees: one that is given, one that isn't."""
    for name in ("given", "kept"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("text")
    (tmp_path / "given" / "link").symlink_to(tmp_path / "kept" / "file")
    (tmp_path / "kept" / "link").symlink_to(tmp_path / "given" / "file")
    return tmp_path


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What is probed is probed in both ways into a cage: behind the fork, or as who waited in front of it."""
    if "probe" in metafunc.function.__code__.co_names:
        metafunc.parametrize("way", ["forked", "waiting"], indirect=True)


@pytest.fixture(autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if getattr(request, "param", "forked") == "waiting":
        monkeypatch.setattr(sys.modules[__name__], "run_confined", in_waiting)


async def run_confined(command: Sequence[str | Path], cage: Confine) -> process.Finished:
    return await process.run(command, timeout=30, confine=cage)


async def in_waiting(command: Sequence[str | Path], cage: Confine) -> process.Finished:
    job = process.confined(command, cage, cwd=Path("/"), memory=1 << 32)
    return await process.end(await process.wait_in_front(), job, 30)


async def probe(
    words: str,
    *,
    read: tuple[Path, ...] = (),
    write: tuple[Path, ...] = (),
    net: bool = False,
    modes: bool = False,
) -> str:
    """What comes of some Python in a cage."""
    cage = Confine((Path(sys.base_prefix), *read), write, net, modes)
    done = await run_confined([Path(sys.executable).resolve(), "-I", "-S", "-c", PROBE, words], cage)
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
    ],
)
async def test_what_may_be_changed_gives_no_way_to_the_rest(home: Path, words: str, came: str) -> None:
    assert await probe(words.format(home), write=(home / "given",)) == came


#: Each call that changes what is said of a file: Landlock governs none of them.
SAID_OF_FILES = (
    ("chmod", "b'{0}', 0o644"),
    ("fchmod", "os.open('{0}', os.O_RDONLY), 0o644"),
    ("fchmodat", "AT, b'{0}', 0o644"),
    ("fchmodat2", "AT, b'{0}', 0o644, 0"),
    ("fchmodat2", "os.open('{0}', os.O_PATH), b'', 0o644, 0x1000"),
    ("chown", "b'{0}', os.getuid(), os.getgid()"),
    ("lchown", "b'{0}', os.getuid(), os.getgid()"),
    ("fchown", "os.open('{0}', os.O_RDONLY), os.getuid(), os.getgid()"),
    ("fchownat", "AT, b'{0}', os.getuid(), os.getgid(), 0"),
    ("utime", "b'{0}', None"),
    ("utimes", "b'{0}', None"),
    ("futimesat", "AT, b'{0}', None"),
    ("utimensat", "AT, b'{0}', TIMES, 0"),
    ("utimensat", "os.open('{0}', os.O_RDONLY), None, TIMES, 0"),
    ("setxattr", "b'{0}', b'user.x', b'x', 1, 0"),
    ("lsetxattr", "b'{0}', b'user.x', b'x', 1, 0"),
    ("fsetxattr", "os.open('{0}', os.O_RDONLY), b'user.x', b'x', 1, 0"),
    ("setxattrat", "AT, b'{0}', 0, b'user.x', XATTR, 16"),
    ("removexattr", "b'{0}', b'user.x'"),
    ("lremovexattr", "b'{0}', b'user.x'"),
    ("fremovexattr", "os.open('{0}', os.O_RDONLY), b'user.x'"),
    ("removexattrat", "AT, b'{0}', 0, b'user.x'"),
    ("file_setattr", "AT, b'{0}', bytes(24), 24, 0"),
)


@pytest.mark.parametrize(("name", "args"), SAID_OF_FILES)
async def test_modes_owners_and_times_are_changed_only_where_that_is_given(
    home: Path, name: str, args: str
) -> None:
    given, kept = home / "given" / "file", home / "kept" / "file"
    kept.chmod(0o600)
    words = call(name, args.format(given))
    assert await probe(words, write=(home / "given",)) == "EPERM"
    allowed = await probe(words, write=(home / "given",), modes=True)
    assert allowed in {"done", "ENODATA", "ENOSYS", "EOPNOTSUPP"} or call_is_missing(name)
    assert await probe(call(name, args.format(kept))) in {"EPERM", "EACCES"}
    assert kept.stat().st_mode & 0o777 == 0o600


def call_is_missing(name: str) -> bool:
    """On this machine."""
    return confine._MODES[name][confine._MACHINES[os.uname().machine][1]] is None


def test_every_call_of_this_kind_is_tried() -> None:
    assert {name for name, _ in SAID_OF_FILES} == set(confine._MODES)


@pytest.mark.parametrize("modes", [True, False])
async def test_what_is_opened_neither_to_read_nor_to_write_is_not_opened(home: Path, modes: bool) -> None:
    """Landlock lets that pass, and fchmod takes what comes of it."""
    kept = home / "kept" / "file"
    kept.chmod(0o600)
    assert await probe(f"import os; os.fchmod(os.open('{kept}', 3), 0o644)", modes=modes) == "EPERM"
    assert await probe(call("openat", f"AT, b'{kept}', 3, 0"), modes=modes) == "EPERM"
    assert await probe(call("open", f"b'{kept}', 3, 0"), modes=modes) == "EPERM"
    assert await probe(call("openat2", f"AT, b'{kept}', bytes([3]) + bytes(23), 24"), modes=modes) == "ENOSYS"
    words = f"import os; os.fchmod(os.open('{kept}', os.O_PATH), 0o644)"
    assert await probe(words, modes=modes) == ("EBADF" if modes else "EPERM")
    assert kept.stat().st_mode & 0o777 == 0o600


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


SEND = """
import socket
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.{0})
ours.sendto(b'x', '{1}')
"""


@pytest.mark.parametrize("net", [True, False])
@pytest.mark.parametrize(
    ("kind", "came"),
    [
        ("SOCK_DGRAM", "EPERM"),
        ("SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK", "EPERM"),
        ("SOCK_RAW", "EPERM"),  # the kernel makes a datagram socket of it
        ("SOCK_SEQPACKET", "done"),  # to its peer, whatever the address
        ("SOCK_STREAM", "EISCONN"),
    ],
)
async def test_a_pair_of_sockets_reaches_nobody_else(net: bool, kind: str, came: str) -> None:
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(f"{short}/log.sock")
        server.setblocking(False)
        words = SEND.format(kind, f"{short}/log.sock")
        assert await probe(words, net=net, write=(Path(short),)) == came
        with pytest.raises(BlockingIOError):
            server.recv(1)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
async def test_a_pair_of_sockets_is_not_connected_anew(kind: socket.SocketKind) -> None:
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX, kind) as server:
        server.bind(f"{short}/api.sock")
        server.listen()
        words = (
            f"import socket; ours, theirs = socket.socketpair(socket.AF_UNIX, {int(kind)}); theirs.close();"
            f" ours.connect('{short}/api.sock')"
        )
        assert await probe(words, write=(Path(short),)) == "EISCONN"


@pytest.fixture
def victim() -> Iterator[int]:
    """A process outside, of the same user."""
    with subprocess.Popen(["/bin/sleep", "60"]) as outside:
        yield outside.pid
        assert outside.poll() is None
        outside.kill()


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("prlimit64", "{0}, 4, bytes(16), None"),  # RLIMIT_CORE
        ("setpriority", "0, {0}, 1"),
        ("sched_setaffinity", "{0}, 8, b'\\1' + bytes(7)"),
        ("sched_setscheduler", "{0}, 0, PARAM"),
        ("sched_setparam", "{0}, PARAM"),
        ("sched_setattr", "{0}, ATTR, 0"),
        ("ioprio_set", "1, {0}, 2 << 13 | 7"),
    ],
)
async def test_a_process_outside_is_not_slowed(victim: int, name: str, args: str) -> None:
    assert await probe(call(name, args.format(victim))) == "EPERM"
    assert await probe(call(name, args.format(0))) == "done"


@pytest.mark.parametrize(
    "which", [("setpriority", "1, 0, 1"), ("setpriority", "2, 0, 1"), ("ioprio_set", "3, 0, 16391")]
)
async def test_all_processes_of_this_user_are_not_slowed_at_once(which: tuple[str, str]) -> None:
    assert await probe(call(*which)) == "EPERM"


async def test_limits_may_be_asked_for_and_those_of_a_process_itself_be_lowered(victim: int) -> None:
    assert await probe("import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))") == "done"
    assert await probe("import os; os.nice(1)") == "done"
    asks = "import resource; resource.prlimit({0}, resource.RLIMIT_CPU)"
    assert await probe(asks.format("__import__('os').getpid()")) == "done"
    assert await probe(f"import resource; resource.prlimit({victim}, resource.RLIMIT_CPU, (1, 1))") == "EPERM"


@pytest.mark.parametrize("modes", [True, False])
async def test_no_ring_of_calls_goes_around_the_filter(modes: bool) -> None:
    assert await probe(call("io_uring_setup", "1, bytes(120)"), net=True, modes=modes) == "EPERM"


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


def test_what_removes_a_tree_there_reaches_no_other(home: Path) -> None:
    """A link that is put in its way at the wrong moment leads nowhere."""
    given, kept = home / "given", home / "kept"
    script("--write", given, "--no-network", "--", "rm", "-rf", "--", given, kept, f"{given}/../kept/file")
    assert list(given.iterdir()) == []
    assert (kept / "file").read_text() == "text"


def test_the_command_gets_the_environment_that_is_read_from_a_descriptor_and_no_other() -> None:
    told, tell = os.pipe()
    os.write(tell, b"A=1\0TWO=x=y\nz\0EMPTY=\0")
    os.close(tell)
    command = [sys.executable, "-I", "-S", str(confine.__file__), "--env-fd", str(told), "--", "env", "-0"]
    kept = {"PATH": os.environ["PATH"], "OURS": "1"}
    done = subprocess.run(command, capture_output=True, timeout=30, check=False, env=kept, pass_fds=[told])
    os.close(told)
    assert done.stdout == b"A=1\0TWO=x=y\nz\0EMPTY=\0"


def test_the_program_says_whether_it_can() -> None:
    done = script("--check")
    assert (done.returncode, done.stdout) == (0, f"Landlock {confine.abi()}\n")


@pytest.mark.parametrize(
    "words",
    [
        ("--red", "/x", "--", "true"),
        ("--read",),
        ("--read", "/x"),
        ("--",),
        ("--env-fd", "x", "--", "true"),
    ],
)
def test_the_program_refuses_words_that_it_does_not_know(words: tuple[str, ...]) -> None:
    done = script(*words)
    assert done.returncode == 1
    assert done.stderr.startswith("confine.py: ")


def test_the_program_says_what_can_not_be_run() -> None:
    assert (
        script("--", "no-such-command").stderr
        == "confine.py: no-such-command can't be run: No such file or directory\n"
    )


# The filter, row by row -----------------------------------------------------------------------

EPERM, EACCES, ENOSYS = 1, 13, 38
HIGH = 1 << 32


def verdict(
    machine: str, number: int, *args: int, arch: int = 0, net: bool = False, modes: bool = False
) -> int:
    """What the kernel would make of a call: 0, or the error."""
    words = [*args, *[0] * (6 - len(args))]
    data = struct.pack(
        "<IIQ6Q", number, arch or confine._MACHINES[machine][0], 0, *(w % 2**64 for w in words)
    )
    rows, at, value = confine._rows(machine, network=net, modes=modes), 0, 0
    assert len(rows) < 4096
    while True:
        code, yes, no, k = rows[at]
        assert 0 <= yes < 256 > no >= 0
        at += 1
        if code == 0x20:
            (value,) = struct.unpack_from("<I", data, k)
        elif code == 0x54:
            value &= k
        elif code in (0x15, 0x35):
            at += yes if (value == k if code == 0x15 else value >= k) else no
        else:
            assert code == 0x06
            assert k == 0x7FFF0000 or k >> 16 == 5
            return 0 if k == 0x7FFF0000 else k & 0xFFFF


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize(
    ("name", "args", "error"),
    [
        *(("openat", (0, 0, flags), 0) for flags in (0, 1, 2, 0o2000002, 0o100)),
        *(("openat", (0, 0, flags), EPERM) for flags in (3, 0o2000003, HIGH | 3)),
        ("openat2", (0, 0, 0, 24), ENOSYS),
        ("io_uring_setup", (1,), EPERM),
        ("socket", (1, 1, 0), EACCES),
        ("socket", (HIGH | 1, 1, 0), EACCES),
        *(("socketpair", (1, kind, 0), 0) for kind in (1, 5, 0o2000001, 0o4005, HIGH | 1)),
        *(("socketpair", (1, kind, 0), EPERM) for kind in (0, 2, 3, 4, 0o2000002, 0o4003, HIGH | 2)),
        ("socketpair", (30, 1, 0), EPERM),
        ("prlimit64", (0, 0, 1, 0), 0),
        ("prlimit64", (HIGH, 0, 1, 0), 0),
        ("prlimit64", (7, 0, 0, 1), 0),
        *(("prlimit64", (7, 0, new, 0), EPERM) for new in (1, HIGH, HIGH | 1)),
        ("setpriority", (0, 0, 9), 0),
        *(("setpriority", (which, who, 9), EPERM) for which, who in ((0, 7), (1, 0), (1, 7), (2, 0), (2, 7))),
        ("ioprio_set", (1, 0, 9), 0),
        *(("ioprio_set", (which, who, 9), EPERM) for which, who in ((1, 7), (2, 0), (2, 7), (3, 0))),
        *((f"sched_set{what}", (0, 1, 1), 0) for what in ("param", "scheduler", "affinity", "attr")),
        *((f"sched_set{what}", (7, 1, 1), EPERM) for what in ("param", "scheduler", "affinity", "attr")),
        *((name, (0, 0, 0), EPERM) for name in confine._MODES),
    ],
)
def test_the_filter_knows_each_call(machine: str, name: str, args: tuple[int, ...], error: int) -> None:
    number = (confine._CALLS | confine._MODES)[name][confine._MACHINES[machine][1]]
    if number is None:
        return
    assert verdict(machine, number, *args) == error
    if name == "openat" and machine == "x86_64":
        assert verdict(machine, 2, *args[1:]) == error
    if name in confine._MODES:
        assert verdict(machine, number, *args, modes=True) == 0


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_lets_all_others_pass(machine: str) -> None:
    calls = confine._CALLS | confine._MODES
    known = {numbers[confine._MACHINES[machine][1]] for numbers in calls.values()}
    passed = [number for number in range(500) if number not in known]
    for net, modes in ((True, True), (False, False)):
        assert {verdict(machine, number, 7, 7, 7, net=net, modes=modes) for number in passed} == {0}


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_holds_sockets_by_their_family(machine: str) -> None:
    number = confine._CALLS["socket"][confine._MACHINES[machine][1]]
    assert number is not None
    assert {family: verdict(machine, number, family) for family in (1, 2, 10, 16)} == dict.fromkeys(
        (1, 2, 10, 16), EACCES
    )
    assert verdict(machine, number, 1, net=True) == EACCES
    assert {verdict(machine, number, family, net=True) for family in (2, 10, 16)} == {0}


def test_the_filter_refuses_calls_of_another_kind() -> None:
    assert verdict("x86_64", 39, arch=0x40000003) == EPERM  # int 0x80
    assert verdict("x86_64", 0x40000000 | 39) == EPERM  # x32
    assert verdict("aarch64", 39, arch=0x40000028) == EPERM  # 32-bit
    assert confine._rows("riscv64", network=True, modes=True) == []


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
    done = await process.run(["cat", home / "kept" / "file"], timeout=30, confine=Confine())
    assert done.stdout == b"text"
    assert "no Landlock" in process.confinement()
