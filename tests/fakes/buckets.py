"""Quotas as one would explain them: a bucket of tokens, and places with deadlines. Exact."""

from dataclasses import dataclass, field
from fractions import Fraction

from tusd_py.core.rates import MAX_PATIENCE_SECONDS, MICRO, Rate


@dataclass
class Bucket:
    """Holds ``burst`` tokens at most, and gets one each interval; a turn costs one. Who waits takes
    it in advance."""

    tokens: Fraction | None = None
    at: Fraction = Fraction(0)

    def ask(self, now: Fraction, rate: Rate, patience: Fraction) -> tuple[bool, Fraction]:
        """Whether the turn was given, and the seconds to wait."""
        interval = Fraction(rate.interval_us, MICRO)
        had = Fraction(rate.burst)
        if self.tokens is not None:
            had = min(had, self.tokens + (now - self.at) / interval)
        had = max(had, -Fraction(MAX_PATIENCE_SECONDS) / interval)
        wait = max(Fraction(0), (1 - had) * interval)
        is_given = wait <= patience
        self.at, self.tokens = now, had - is_given
        return is_given, wait


@dataclass
class Places:
    """Who is in, and until when."""

    deadlines: dict[str, Fraction] = field(default_factory=dict)

    def enter(self, body: str, now: Fraction, *, limit: int, seconds: Fraction) -> bool:
        self.deadlines = {one: until for one, until in self.deadlines.items() if until > now}
        if body not in self.deadlines and len(self.deadlines) >= limit:
            return False
        self.deadlines[body] = now + seconds
        return True

    def leave(self, body: str) -> None:
        self.deadlines.pop(body, None)
