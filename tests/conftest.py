from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings
from structlog.dev import plain_traceback

# No deadline: the machines that run this are shared. No database: what failed is printed as a blob.
settings.register_profile(
    "timewright",
    deadline=None,
    database=None,
    print_blob=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("timewright")

# Who starts tests in the background of a shell script has SIGINT ignored, and so have all their children:
# tests of Ctrl-C would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Commands set the log up for their whole process: the next test would miss what is below their level.
    Without rich, which other tools load: it would print every object in reach of a traceback."""
    structlog.configure(processors=[structlog.dev.ConsoleRenderer(exception_formatter=plain_traceback)])
    yield
    structlog.reset_defaults()
