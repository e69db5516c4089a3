"""How often something may happen: the generic cell rate algorithm, in whole microseconds. Pure.

One number is kept of each client: the moment until when everything it took is paid off. What it
takes moves that one interval on; what it does not take moves nothing. It may be a burst ahead of
now, and a turn that lies further ahead is waited for.

Back ends that cannot run this do the same sums (``state/redis/lua/admit.lua``); whole numbers, so
that all of them come to the same.
"""

import math
from dataclasses import dataclass
from typing import Final

MICRO: Final = 1_000_000
MAX_BURST: Final = 10_000
MAX_SECONDS: Final = 86_400.0
"""Together they keep every sum below 2**53: a double holds it exactly."""
MAX_PATIENCE_SECONDS: Final = 60.0
"""Nobody waits longer for a turn, so no client is further ahead of its burst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """``count`` times in ``seconds``, evenly, and after a pause ``burst`` times at once."""

    count: int
    seconds: float
    burst: int

    def __post_init__(self) -> None:
        if self.count < 1 or not 1 <= self.burst <= MAX_BURST:
            raise ValueError(f"count and burst must be at least 1, burst at most {MAX_BURST}")
        if not 0 < self.seconds <= MAX_SECONDS:
            raise ValueError(f"seconds must be above 0 and at most {MAX_SECONDS:.0f}")

    @property
    def interval_us(self) -> int:
        """Between two turns; rounded up, so that never more happens than was allowed."""
        return math.ceil(self.seconds * MICRO / self.count)

    @property
    def tolerance_us(self) -> int:
        """How far ahead of now a client may be and still take its turn at once."""
        return self.interval_us * (self.burst - 1)

    @property
    def reach_us(self) -> int:
        """How far ahead of now a client can be that got its turns at this rate."""
        return self.tolerance_us + self.interval_us + int(MAX_PATIENCE_SECONDS * MICRO)


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of asking for a turn."""

    is_given: bool
    """It is the caller's, and spent, once ``wait_seconds`` are over. Else nothing was spent."""
    wait_seconds: float
    """Until the turn that was given, 0 for now; else until one would be free at once."""


def give_turn(
    paid_until: int | None, now: int, rate: Rate, *, patience_us: int = 0
) -> tuple[Turn, int]:
    """The next turn, where it is free within ``patience_us``, and until when all is paid off then:
    what to keep for the next call.

    ``paid_until``: what came of the last call; None where nothing is known. A number that this rate
    cannot have come to (the operator changed it, or a clock was set back) is cut down to the
    highest it can: nobody is locked out by what held before. ``patience_us`` is at most
    ``MAX_PATIENCE_SECONDS``.
    """
    start = min(max(now if paid_until is None else paid_until, now), now + rate.reach_us)
    wait = max(0, start - rate.tolerance_us - now)
    if wait > patience_us:
        return Turn(False, wait / MICRO), start
    return Turn(True, wait / MICRO), start + rate.interval_us
