"""What the fuzzing itself can see: it would be of no use if nothing could make it fail."""

from random import Random

import pytest

from tests.fuzz.texts import damage
from tests.fuzz.work import work_of


def _walks_once(text: str) -> int:
    return sum(1 for char in text if char == ",")


def _copies_the_rest(text: str) -> None:
    while text:
        text = text[1:]


def _searches_all_for_each(text: str) -> int:
    found = 0
    for _ in text:
        for other in text:
            found += other == ","
    return found


def _grows(parse: object, times: int) -> float:
    assert callable(parse)
    return work_of(lambda: parse("a," * 8 * times)) / work_of(lambda: parse("a," * times))


def test_linear_work_grows_as_the_text_does() -> None:
    assert 6 <= _grows(_walks_once, 32) <= 9


@pytest.mark.parametrize("parse", [_copies_the_rest, _searches_all_for_each])
def test_quadratic_work_shows(parse: object) -> None:
    assert _grows(parse, 16) > 40


def test_an_error_that_is_expected_ends_the_count_and_another_escapes() -> None:
    assert work_of(lambda: int("x"), (ValueError,)) > 0
    with pytest.raises(ValueError, match="invalid literal"):
        work_of(lambda: int("x"))


def test_damage_leaves_some_values_as_they_were_and_changes_most() -> None:
    rng = Random(1)
    damaged = [damage(rng, ("filename Y2xpcC5tcDQ=",)) for _ in range(500)]
    assert 20 < damaged.count("filename Y2xpcC5tcDQ=") < 250
    assert len(set(damaged)) > 200
