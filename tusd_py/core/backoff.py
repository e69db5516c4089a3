"""When to try again: exponential, with full jitter, and for more than a day. Pure."""

import math
from dataclasses import dataclass
from typing import Final

HOUR_SECONDS: Final = 3600.0
MAX_DOUBLINGS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long to wait after each failure, and when to give up."""

    first_seconds: float = 1.0
    """The longest wait after the first failure; it doubles with each further one."""
    cap_seconds: float = HOUR_SECONDS
    """No wait is longer, unless the receiver asks for it."""
    give_up_seconds: float = 26 * HOUR_SECONDS
    """What is older than this, and was tried as often as fits into it, has failed for good."""
    max_retry_after_seconds: float = 6 * HOUR_SECONDS
    """A receiver that asks for a longer pause is asked again after this."""

    def __post_init__(self) -> None:
        if not 0 < self.first_seconds <= self.cap_seconds:
            raise ValueError("0 < first_seconds <= cap_seconds must hold")

    def delay_seconds(
        self, attempts: int, dice: float, retry_after_seconds: float | None = None
    ) -> float:
        """How long to wait after ``attempts`` failures (1 or more).

        ``dice`` is random in [0, 1): full jitter takes any moment up to the ceiling, so that a
        receiver that comes back is not met by everybody at once. A ``Retry-After`` is a lower
        bound.
        """
        doublings = min(max(attempts - 1, 0), MAX_DOUBLINGS)
        delay = dice * min(self.cap_seconds, self.first_seconds * 2.0**doublings)
        if retry_after_seconds is None or math.isnan(retry_after_seconds):
            return delay
        return max(delay, min(retry_after_seconds, self.max_retry_after_seconds))

    def is_over(self, attempts: int, age_seconds: float) -> bool:
        """Whether what has failed ``attempts`` times and is this old has failed for good.

        Age alone does not count: an event may have waited for a server that was down, or behind an
        earlier event, and has had no try yet.
        """
        return age_seconds >= self.give_up_seconds and attempts >= self.least_attempts

    @property
    def least_attempts(self) -> int:
        """How many tries fit into ``give_up_seconds`` with mean waits (half the ceilings)."""
        ramp = math.ceil(math.log2(self.cap_seconds / self.first_seconds))
        ramp_seconds = self.first_seconds * (2.0**ramp - 1) / 2
        if ramp_seconds >= self.give_up_seconds:
            return max(1, math.ceil(math.log2(2 * self.give_up_seconds / self.first_seconds + 1)))
        return ramp + math.ceil((self.give_up_seconds - ramp_seconds) / (self.cap_seconds / 2))
