"""How long to wait before the next try of something that failed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """The wait starts at `first` seconds and doubles up to `most`. After `tries` it is ten times the
    most: a disk that was full for hours recovers by itself, and a compile that never ends costs little."""

    tries: int = 5
    first: float = 5.0
    most: float = 180.0

    def wait(self, attempt: int, jitter: float) -> float:
        """Seconds to wait after failed attempt number `attempt` (from 1).

        `jitter` from 0 to 1 lengthens the wait by up to a tenth, so that many don't retry as one.
        """
        doublings = min(attempt - 1, 64)  # a float holds no more than a thousand
        plain = self.most * 10 if attempt >= self.tries else min(self.first * 2**doublings, self.most)
        return float(plain * (1 + jitter / 10))
