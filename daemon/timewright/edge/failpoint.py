"""Fault points for the kill tests: named steps at which a test can have the daemon die.

`TIMEWRIGHT_FAILPOINT=after-link` kills the process there, as SIGKILL would. Without the variable
`failpoint` is a function that does nothing.
"""

from __future__ import annotations

import os
import signal

_ARMED = os.environ.get("TIMEWRIGHT_FAILPOINT", "")

if _ARMED:

    def failpoint(name: str) -> None:
        """Die here when `name` is the armed point."""
        if name == _ARMED:
            os.kill(os.getpid(), signal.SIGKILL)

else:

    def failpoint(name: str) -> None:
        """Not armed: nothing happens."""
