"""The process's own memory: held small by the C library's settings, given back when work is done.

What malloc does by itself suits a server with many busy threads: an arena for each thread, freed memory
kept for later. Ours reads and builds in bursts and then idles for days.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

_M_TRIM_THRESHOLD: Final = -1  # <malloc.h>
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_ARENAS: Final = 2  # the loop's, and one that all helper threads share: they mostly wait
_BIG: Final = 128 * 1024  # bytes: glibc's own first values; once set they no longer grow with use


def bound() -> bool:
    """Have all threads share few arenas, and big buffers go back at once when freed. To be called before
    there are threads. Returns whether the C library knows it (glibc; musl needs none of it)."""
    mallopt = getattr(_libc(), "mallopt", None)
    if mallopt is None:
        return False
    wishes = ((_M_ARENA_MAX, _ARENAS), (_M_MMAP_THRESHOLD, _BIG), (_M_TRIM_THRESHOLD, _BIG))
    return [mallopt(name, value) for name, value in wishes] == [1] * len(wishes)


def build_up() -> None:
    """Look for no garbage until `keep`: what is read at a start stays, and is more at each look."""
    gc.disable()


def keep() -> None:
    """What is there now mostly stays (modules, settings, what is deployed): no collection looks at it again,
    and what of it is given up all the same is freed by its count of references. Once."""
    gc.collect()
    gc.freeze()
    gc.enable()


def give_back() -> None:
    """Hand what is free to the system. Takes milliseconds: for when a burst of work is over."""
    gc.collect()
    trim = getattr(_libc(), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
