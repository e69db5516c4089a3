"""Turns at a rate, against the bucket of tokens that everybody knows."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.buckets import Bucket
from tusd_py.core.rates import (
    MAX_BURST,
    MAX_PATIENCE_SECONDS,
    MAX_SECONDS,
    MICRO,
    Rate,
    Turn,
    give_turn,
)

EVERY_SECOND = Rate(count=60, seconds=60, burst=3)
NOW = 1_800_000_000 * MICRO

rates = st.builds(
    Rate,
    count=st.integers(1, 1000),
    seconds=st.floats(0.001, MAX_SECONDS),
    burst=st.integers(1, MAX_BURST),
)


def ask(
    paid_until: int | None, seconds: float, rate: Rate = EVERY_SECOND, patience: float = 0
) -> tuple[Turn, int]:
    """The turn at that many seconds after the first moment."""
    return give_turn(
        paid_until, NOW + int(seconds * MICRO), rate, patience_us=int(patience * MICRO)
    )


def test_a_burst_is_let_through_at_once_and_then_one_each_interval() -> None:
    paid: int | None = None
    given = []
    for seconds in (0, 0, 0, 0, 0.5, 1, 1, 2, 10, 10, 10, 10):
        turn, paid = ask(paid, seconds)
        assert turn.is_given == (turn.wait_seconds == 0)
        given.append(turn.is_given)
    assert given == [True] * 3 + [False] * 2 + [True, False, True] + [True] * 3 + [False]


def test_who_is_refused_is_told_when_to_come_and_gets_in_then() -> None:
    _, paid = ask(None, 0, Rate(count=1, seconds=30, burst=1))
    refused, same = ask(paid, 10, Rate(count=1, seconds=30, burst=1))
    assert (refused, same) == (Turn(False, 20.0), paid)
    assert ask(same, 29.999, Rate(count=1, seconds=30, burst=1))[0].is_given is False
    assert ask(same, 30, Rate(count=1, seconds=30, burst=1))[0] == Turn(True, 0.0)


def test_who_has_patience_gets_the_next_free_turn_in_the_order_of_asking() -> None:
    paid: int | None = None
    turns = []
    for _ in range(7):
        turn, paid = ask(paid, 0, patience=3)
        turns.append(turn)
    assert [turn.wait_seconds for turn in turns] == [0, 0, 0, 1, 2, 3, 4]
    assert [turn.is_given for turn in turns] == [True] * 6 + [False]


def test_a_slower_rate_of_before_locks_nobody_out() -> None:
    """An operator who allows more again need not wait for the old debt to be paid."""
    _, paid = ask(None, 0, Rate(count=1, seconds=86_400, burst=1))
    turn, paid = ask(paid, 1)
    assert turn == Turn(False, MAX_PATIENCE_SECONDS + 1)
    assert ask(paid, 1 + MAX_PATIENCE_SECONDS + 1)[0].is_given


def test_who_has_no_patience_does_not_forget_the_turns_of_those_who_have() -> None:
    """What they wait for is theirs; refused calls in between change nothing."""
    paid = _burst(None, 0, 3)[-1][1]
    for wait in (1, 2, 3):
        turn, paid = ask(paid, 0, patience=60)
        assert turn == Turn(True, wait)
        assert ask(paid, 0) == (Turn(False, wait + 1), paid)


def test_a_clock_that_was_set_back_locks_nobody_out() -> None:
    _, paid = ask(None, 5_000)
    turn, paid = ask(paid, 0)
    assert turn == Turn(False, MAX_PATIENCE_SECONDS + 1)
    assert ask(paid, MAX_PATIENCE_SECONDS + 1)[0].is_given


def test_a_bucket_that_was_not_used_for_long_is_full_and_not_fuller() -> None:
    _, paid = ask(None, 0)
    assert [t[0].is_given for t in _burst(paid, 10**6, 5)] == [True] * 3 + [False] * 2


def _burst(paid: int | None, seconds: float, count: int) -> list[tuple[Turn, int]]:
    asked = []
    for _ in range(count):
        turn, paid = ask(paid, seconds)
        asked.append((turn, paid))
    return asked


@given(
    rate=rates,
    patience=st.floats(0, 60),
    pauses=st.lists(st.one_of(st.just(0.0), st.floats(0, 100)), max_size=30),
)
def test_any_sequence_is_that_of_a_bucket_of_tokens(
    rate: Rate, patience: float, pauses: list[float]
) -> None:
    """To the microsecond, and every number is one that a double holds exactly."""
    bucket, paid, now = Bucket(), None, NOW
    patience_us = int(patience * MICRO)
    for pause in pauses:
        now += int(pause * MICRO)
        turn, paid = give_turn(paid, now, rate, patience_us=patience_us)
        is_given, wait = bucket.ask(Fraction(now, MICRO), rate, Fraction(patience_us, MICRO))
        assert turn == Turn(is_given, float(wait))
        assert paid < 2**53


@given(rate=rates, seconds=st.integers(1, 3600))
def test_no_time_sees_more_than_the_burst_and_the_rate(rate: Rate, seconds: int) -> None:
    """Whoever asks as often as he can, at the best moments."""
    paid: int | None = None
    now, end, given = NOW, NOW + seconds * MICRO, 0
    while now < end and given < 100:
        turn, paid = give_turn(paid, now, rate)
        given += turn.is_given
        now += 0 if turn.is_given else max(1, round(turn.wait_seconds * MICRO))
    assert given <= rate.burst + Fraction(seconds * MICRO, rate.interval_us)


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 0},
        {"burst": 0},
        {"burst": MAX_BURST + 1},
        {"seconds": 0.0},
        {"seconds": MAX_SECONDS + 1},
    ],
)
def test_a_rate_that_means_nothing_cannot_be_made(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"at least|at most"):
        Rate(**({"count": 1, "seconds": 1.0, "burst": 1} | wrong))  # type: ignore[arg-type]
