"""How long to wait before the next try of something that failed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """`tries` in all; the wait starts at `first` seconds and doubles up to `most`."""

    tries: int = 5
    first: float = 5.0
    most: float = 180.0

    def wait(self, attempt: int, jitter: float) -> float | None:
        """Seconds to wait after failed attempt number `attempt` (from 1); None: give up.

        `jitter` from 0 to 1 lengthens the wait by up to a tenth, so that many don't retry as one.
        """
        if attempt >= self.tries:
            return None
        doublings = min(attempt - 1, 64)  # a float holds no more than a thousand
        return float(min(self.first * 2**doublings, self.most) * (1 + jitter / 10))
