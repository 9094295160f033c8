"""What a process may touch from now on: Landlock for files, TCP and signals, seccomp for the rest.

    cage = prepare(read=[…], write=[…], network=False, modes=False)    in the parent
    cage.enter()                                                       in the child, between fork and exec
    python3 -I -S confine.py --read P --write P [--no-network] [--env-fd N] -- COMMAND…
    python3 -I -S confine.py --wait                                    reads these words, when they come

A confined process reads what it was given and the system's own libraries, writes only where it was told,
sees, signals and slows no process outside of its cage, and reaches no Unix socket by its path (the daemon's
API is one). None of that can be undone, and children inherit it. Where the kernel has no Landlock `prepare`
gives None. A path that isn't there is passed over: one that comes later stays closed.

Stdlib only, and little of it: as a script it stands in front of every worker process.
"""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence

NO_LANDLOCK = 3  # exit code of `--check`
NOT_BEGUN = 125  # exit code of `--wait` where the command was not begun

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every processor
_PATH_BENEATH = 1
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 1, 38, 22, 2
_SIGKILL = 9

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK, _REFER, _TRUNCATE, _IOCTL = 1 << 6, 1 << 11, 1 << 13, 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL  # the others are of directories
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_WRITE = ((1 << 15) - 1) & ~(_MAKE_CHAR | _MAKE_BLOCK)
_DEVICE = _READ_FILE | _WRITE_FILE | _IOCTL

#: Read by every program of ours: libraries, certificates, names of hosts and zones; what Node and Go ask the
#: kernel. Of /etc only files that say nothing about this host's secrets.
_SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload", "/etc/alternatives"),
    *(
        "/etc/ssl/certs",
        "/etc/ssl/cert.pem",
        "/etc/ssl/openssl.cnf",
        "/etc/pki/tls/certs",
        "/etc/pki/tls/openssl.cnf",
    ),
    *("/etc/pki/ca-trust/extracted", "/etc/ca-certificates", "/etc/crypto-policies"),
    *(
        "/etc/localtime",
        "/etc/timezone",
        "/etc/os-release",
        "/etc/passwd",
        "/etc/group",
        "/etc/nsswitch.conf",
    ),
    *("/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols"),
    *("/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf"),  # where resolv.conf is written anew
    *("/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/uptime", "/proc/loadavg", "/proc/version"),
    *(
        "/proc/filesystems",
        "/proc/sys/kernel",
        "/proc/sys/vm",
        "/proc/sys/crypto",
        "/proc/sys/net/core/somaxconn",
    ),
    *(
        "/sys/fs/cgroup",
        "/sys/devices/system/cpu",
        "/sys/devices/system/node",
        "/sys/kernel/mm/transparent_hugepage",
    ),
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")

#: By machine: AUDIT_ARCH, and which number of a call is its own. x32 calls on x86-64 have this bit.
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_X32 = 0x40000000
#: Number of each call that the filter knows, on x86-64 and arm64; None where there is no such call.
_CALLS: dict[str, tuple[int | None, int | None]] = {
    "open": (2, None),
    "openat": (257, 56),
    "openat2": (437, 437),
    "io_uring_setup": (425, 425),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "prlimit64": (302, 261),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
}
#: The same for those that change what is said of a file, and not its contents.
_MODES: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}
_AF_UNIX, _STREAM, _SEQPACKET = 1, 1, 5
_EPERM, _EACCES, _ENOSYS = 1, 13, 38

_LOAD, _AND, _SAME, _LEAST, _END = 0x20, 0x54, 0x15, 0x35, 0x06  # BPF: ld word, and, jeq, jge, ret
_ALLOW, _ERRNO, _ALL = 0x7FFF0000, 0x00050000, 0xFFFFFFFF

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("parent", ctypes.c_int32))


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("yes", ctypes.c_uint8),
        ("no", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


def abi() -> int:
    """The version of Landlock that this kernel has; 0 for none. 4 knows TCP, 6 signals."""
    if _libc is None:
        return 0
    version: int = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    return max(0, version)


class Cage:
    """Rules that are ready: all that is left for the child is to enter. Close it where nobody will."""

    def __init__(self, ruleset: int, handled: int, program: _Program | None) -> None:
        self._ruleset, self._handled, self._program = ruleset, handled, program

    def enter(self) -> None:
        """Confine this thread, and all that it starts, for good. Raises OSError."""
        assert _libc is not None  # noqa: S101 - there is no cage without it
        # Only now: it is another directory for each process.
        _allow(self._ruleset, "/proc/self", _READ | _WRITE_FILE, self._handled)
        _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _check(_libc.syscall(_RESTRICT_SELF, self._ruleset, ctypes.c_uint32(0)))
        if self._program is not None:
            _check(_libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(self._program), 0, 0))

    def close(self) -> None:
        os.close(self._ruleset)


def prepare(read: Iterable[str], write: Iterable[str], *, network: bool, modes: bool) -> Cage | None:
    """A cage in which these trees and files can be read, and those be changed; None without Landlock.

    `network`: TCP and UDP; never Unix sockets by path. `modes`: chmod, chown, utime, setxattr, of every file
    that this user owns: Landlock doesn't govern them. Raises OSError.
    """
    version = abi()
    if version < 1:
        return None
    handled = (1 << 13) - 1
    handled |= (
        (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0) | (_IOCTL if version >= 5 else 0)
    )
    tcp = 0b11 if version >= 4 and not network else 0
    rules = _Ruleset(handled, tcp, 0b11 if version >= 6 else 0)
    # An older kernel takes the longer record, since what it doesn't know is 0.
    assert _libc is not None  # noqa: S101 - abi() said so
    size = ctypes.c_size_t(ctypes.sizeof(rules))
    ruleset = _check(_libc.syscall(_CREATE_RULESET, ctypes.byref(rules), size, ctypes.c_uint32(0)))
    try:
        for paths, access in ((_SYSTEM, _READ), (_DEVICES, _DEVICE), (read, _READ), (write, _READ | _WRITE)):
            for path in paths:
                _allow(ruleset, path, access, handled)
    except BaseException:
        os.close(ruleset)
        raise
    return Cage(ruleset, handled, _filter(network=network, modes=modes))


def _allow(ruleset: int, path: str, access: int, handled: int) -> None:
    assert _libc is not None  # noqa: S101 - as above
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # not there, or not to be reached by this user anyway
    try:
        directory = stat.S_ISDIR(os.fstat(parent).st_mode)
        wanted = access & handled & (-1 if directory else _OF_FILES)
        beneath = _Beneath(wanted, parent)
        _check(_libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(beneath), ctypes.c_uint32(0)))
    finally:
        os.close(parent)


_Row = tuple[int, int, int, int]  # code, jump if so, jump if not, value
_Test = tuple[int, int, int, int]  # word of seccomp_data, mask, _SAME or _LEAST, value


@functools.cache
def _filter(*, network: bool, modes: bool) -> _Program | None:
    """None on a processor whose calls we don't know."""
    rows = _rows(os.uname().machine, network=network, modes=modes)
    if not rows:
        return None
    return _Program(len(rows), (_Instruction * len(rows))(*(_Instruction(*row) for row in rows)))


def _rows(machine: str, *, network: bool, modes: bool) -> list[_Row]:
    """The filter of calls: what Landlock doesn't govern, or could be used to go around it."""
    if machine not in _MACHINES:
        return []
    arch, column = _MACHINES[machine]
    numbers = _CALLS | _MODES
    rows = [
        *((_LOAD, 0, 0, 4), (_SAME, 1, 0, arch), (_END, 0, 0, _ERRNO | _EPERM)),
        *((_LOAD, 0, 0, 0), (_LEAST, 0, 1, _X32 if column == 0 else _ALL), (_END, 0, 0, _ERRNO | _EPERM)),
    ]
    for name, (error, ways) in _rules(network=network, modes=modes).items():
        number = numbers[name][column]
        if number is not None:
            rows += _only(number, error, ways)
    return [*rows, (_END, 0, 0, _ALLOW)]


def _rules(*, network: bool, modes: bool) -> dict[str, tuple[int, tuple[tuple[_Test, ...], ...]]]:
    """Call → the error that it gets, and the ways in which it may be made. In each all tests hold.

    open: what is opened neither to read nor to write (mode 3) Landlock lets pass, and fchmod takes it. Of
    openat2 a filter can't see the flags; who knows it makes do without. Datagram sockets send to any path;
    streams and packets of a pair don't. For the own process is 0: its own number a filter doesn't know.
    """
    ours = ((_argument(0, 0),),)
    rules: dict[str, tuple[int, tuple[tuple[_Test, ...], ...]]] = {
        "open": (_EPERM, tuple((_argument(1, mode, 3),) for mode in range(3))),
        "openat": (_EPERM, tuple((_argument(2, mode, 3),) for mode in range(3))),
        "openat2": (_ENOSYS, ()),
        "io_uring_setup": (_EPERM, ()),
        "socket": (_EACCES, (((16, _ALL, _LEAST, _AF_UNIX + 1),),) if network else ()),  # the families above
        "socketpair": (
            _EPERM,
            tuple((_argument(0, _AF_UNIX), _argument(1, kind, 0xF)) for kind in (_STREAM, _SEQPACKET)),
        ),
        "prlimit64": (_EPERM, (*ours, ((32, _ALL, _SAME, 0), (36, _ALL, _SAME, 0)))),  # no new limit
        "setpriority": (_EPERM, ((_argument(0, 0), _argument(1, 0)),)),  # PRIO_PROCESS
        "ioprio_set": (_EPERM, ((_argument(0, 1), _argument(1, 0)),)),  # IOPRIO_WHO_PROCESS
    }
    rules |= {name: (_EPERM, ours) for name in _CALLS if name.startswith("sched_set")}
    return rules if modes else rules | dict.fromkeys(_MODES, (_EPERM, ()))


def _argument(index: int, value: int, mask: int = _ALL) -> _Test:
    """Whether these bits of an argument are that. Of an int the kernel sees the lower word alone, too."""
    return (16 + 8 * index, mask, _SAME, value)


def _only(number: int, error: int, ways: Sequence[Sequence[_Test]]) -> list[_Row]:
    """This call refused, but where all tests of one way hold. The accumulator has the number of the call."""
    rows: list[_Row] = []
    for tests in ways:
        left = 3 * len(tests) + 1  # rows of this way; the next one begins behind them
        for word, mask, test, value in tests:
            left -= 3
            rows += [(_LOAD, 0, 0, word), (_AND, 0, 0, mask), (test, 0, left, value)]
        rows.append((_END, 0, 0, _ALLOW))
    rows.append((_END, 0, 0, _ERRNO | error))
    return [(_SAME, 0, len(rows), number), *rows]


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"can't confine a process: {os.strerror(number)}")
    return result


def _program(name: str) -> str:
    """Where a command is, by PATH; its name where it isn't found."""
    places = [] if "/" in name else os.get_exec_path()
    found = (path for place in places if os.access(path := f"{place}/{name}", os.X_OK))
    return next(found, name)


def _environment(descriptor: int) -> dict[bytes, bytes]:
    """What is read there: NAME=value, a NUL behind each."""
    with open(descriptor, "rb") as file:
        rows = [row.partition(b"=") for row in file.read().split(b"\0") if row]
    return {name: value for name, _, value in rows}


def main(words: Sequence[str]) -> None:
    """Confine this process, then become the command. `--check`: only say whether this kernel can.

    `--env-fd`: where to read the command's environment. In ours it could load code (LD_PRELOAD, GCONV_PATH)
    before there is a cage. `--memory`: bytes that it may allocate (RLIMIT_DATA). `--no-modes`: as `prepare`.
    """
    read: list[str] = []
    write: list[str] = []
    network = modes = True
    memory = 0
    environment: Mapping[bytes, bytes] = os.environb
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--check":
            version = abi()
            said = (
                f"Landlock {version}"
                if version
                else "this kernel has no Landlock; Linux 5.13 or newer has it"
            )
            sys.stdout.write(f"{said}\n")
            raise SystemExit(0 if version else NO_LANDLOCK)
        if word == "--no-network":
            network = False
        elif word == "--no-modes":
            modes = False
        elif word == "--cwd" and rest:
            os.chdir(rest.pop(0))
        elif word == "--memory" and rest and rest[0].isdecimal():
            memory = int(rest.pop(0))
        elif word in ("--read", "--write") and rest:
            (read if word == "--read" else write).append(rest.pop(0))
        elif word == "--env-fd" and rest and rest[0].isdecimal():
            environment = _environment(int(rest.pop(0)))
        elif word == "--" and rest:
            break
        else:
            raise SystemExit(
                f"confine.py: {word}: what is that? "
                "--read P --write P [--no-network] [--no-modes] [--cwd P] [--memory N] [--env-fd N] "
                "-- COMMAND…"
            )
    if not rest:
        raise SystemExit("confine.py: which command?")
    program = _program(rest[0])  # first: in the cage Python can read no more of itself
    if memory:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    cage = prepare(read, write, network=network, modes=modes)
    if cage is not None:
        cage.enter()
        cage.close()
    try:
        os.execve(program, rest, environment)  # noqa: S606 - a list, and no shell
    except OSError as error:
        raise SystemExit(f"confine.py: {rest[0]} can't be run: {error.strerror}") from None


def wait() -> None:
    """Read the words of `main` from the input, a NUL behind each, when they come: what takes time is done by
    then. Who started us may have ended; with NOT_BEGUN the command has done nothing."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    words = [os.fsdecode(word) for word in sys.stdin.buffer.read().split(b"\0")[:-1]]
    if not words:
        raise SystemExit(0)
    try:
        main(words)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"confine.py: {error}\n")
    except SystemExit as error:
        sys.stderr.write(f"{error}\n")
    raise SystemExit(NOT_BEGUN)


if __name__ == "__main__":
    if sys.argv[1:] == ["--wait"]:
        wait()
    else:
        main(sys.argv[1:])
