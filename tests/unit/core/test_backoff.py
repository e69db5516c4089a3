"""When to try again, and when no more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusd_py.core.backoff import RetryPolicy

DICE = st.floats(0, 1, exclude_max=True)
POLICIES = st.builds(
    lambda first, factor, give_up: RetryPolicy(
        first_seconds=first, cap_seconds=first * factor, give_up_seconds=give_up
    ),
    st.floats(0.01, 100),
    st.floats(1, 10_000),
    st.floats(0, 1e6),
)


@pytest.mark.parametrize(
    ("attempts", "ceiling"),
    [(1, 1), (2, 2), (3, 4), (10, 512), (12, 2048), (13, 3600), (40, 3600), (10**9, 3600)],
)
def test_the_ceiling_doubles_up_to_the_cap(attempts: int, ceiling: float) -> None:
    """One second at first, an hour at most."""
    policy = RetryPolicy()
    assert policy.delay_seconds(attempts, 1.0) == ceiling
    assert policy.delay_seconds(attempts, 0.5) == ceiling / 2
    assert policy.delay_seconds(attempts, 0.0) == 0


@given(policy=POLICIES, attempts=st.integers(1, 10**6), dice=DICE)
def test_a_delay_is_never_longer_than_the_cap(
    policy: RetryPolicy, attempts: int, dice: float
) -> None:
    """Full jitter: anything from nothing to the ceiling."""
    assert 0 <= policy.delay_seconds(attempts, dice) <= policy.cap_seconds


@given(asked=st.floats() | st.none(), attempts=st.integers(1, 99), dice=DICE)
def test_a_pause_that_is_asked_for_is_kept_within_a_bound(
    asked: float | None, attempts: int, dice: float
) -> None:
    """Also one that is negative, infinite or no number at all."""
    policy = RetryPolicy(max_retry_after_seconds=7200)
    delay = policy.delay_seconds(attempts, dice, asked)
    own = policy.delay_seconds(attempts, dice)
    if asked is None or not asked > own:
        assert delay == own
    else:
        assert delay == max(own, min(asked, 7200))


@pytest.mark.parametrize(
    ("attempts", "hours", "is_over"),
    [
        pytest.param(200, 25.9, False, id="many tries, not a day and two hours old"),
        pytest.param(1, 100, False, id="old, because the server was down, and tried once"),
        pytest.param(62, 100, False, id="one try too few"),
        pytest.param(63, 26, True, id="old and tried often enough"),
    ],
)
def test_giving_up_takes_both_age_and_tries(attempts: int, hours: float, is_over: bool) -> None:
    """An event that waited for others or for a server has its day of tries all the same."""
    assert RetryPolicy().is_over(attempts, hours * 3600) is is_over


@given(policy=POLICIES)
def test_the_tries_that_must_be_made_take_about_the_time_to_give_up(policy: RetryPolicy) -> None:
    """With mean waits; one try less would be over sooner."""
    least = policy.least_attempts
    if least > 20_000:
        assert (least - 64) * policy.cap_seconds / 2 <= policy.give_up_seconds
        return
    waits = [policy.delay_seconds(attempt, 0.5) for attempt in range(1, least + 1)]
    assert sum(waits) >= policy.give_up_seconds * 0.999
    assert sum(waits[:-1]) <= policy.give_up_seconds * 1.001 or least == 1


@pytest.mark.parametrize(("first", "cap"), [(0, 1), (-1, 1), (2, 1)])
def test_a_policy_that_makes_no_sense_cannot_be_made(first: float, cap: float) -> None:
    """A wait of nothing would never grow."""
    with pytest.raises(ValueError, match="first_seconds"):
        RetryPolicy(first_seconds=first, cap_seconds=cap)
