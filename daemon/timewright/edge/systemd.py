"""What systemd is told (sd_notify(3)): ready, reloading, stopping, how things stand, and that we live.

Without NOTIFY_SOCKET, so on a laptop, every call does nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Systemd:
    """The manager that started us. Our children don't get its variables: they would speak in our name."""

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        given = os.environ if environ is None else environ
        self._variables = {name: given.pop(name) for name in _VARIABLES if name in given}
        self._address = self._variables.get("NOTIFY_SOCKET", "").replace("@", "\0", 1)
        self._said = ""
        self._fed = 0.0

    @property
    def watchdog_s(self) -> float | None:
        """Seconds between two signs of life, half of what the unit allows; None: nobody asks for them."""
        text = self._variables.get("WATCHDOG_USEC", "")
        ours = self._variables.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        return int(text) / 2e6 if text.isdigit() and int(text) and ours else None

    def feed(self) -> None:
        """A sign of life. To be called by the work itself, never by a timer of its own."""
        every = self.watchdog_s
        if every is not None and (not self._fed or time.monotonic() - self._fed >= every / 2):
            self._fed = time.monotonic()
            self._send("WATCHDOG=1")

    def ready(self) -> None:
        """The first pass has been made: also after a reload."""
        self._send("READY=1")

    def reloading(self) -> None:
        # Type=notify-reload asks for the moment, so that it knows which READY answers it.
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        if text != self._said:
            self._said = text
            self._send(f"STATUS={text}")

    def restored(self) -> dict[str, str]:
        """Our environment with what was taken out of it: for the process that takes our place."""
        return {**os.environ, **self._variables}

    def _send(self, text: str) -> None:
        if not self._address:
            return
        # Nobody may be there, or its queue be full: what it is told is never worth a failure.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
            there.setblocking(False)
            there.sendto(text.encode(), self._address)
