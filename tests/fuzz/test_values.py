"""Every parser of one field's value, fed with nonsense, with much of it, and for long."""

import gc
import tracemalloc
from contextlib import suppress
from random import Random
from typing import Final

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from tests.fuzz.parsers import PARSERS, Parser
from tests.fuzz.texts import damage, repeated, values
from tests.fuzz.work import work_of

pytestmark = pytest.mark.fuzz

REPEATS: Final = 64
GROWTH: Final = 8
WORK_PER_CHAR: Final = 24
"""Lines that a parser may run for each character: so much is linear, whatever a short text took."""
ROUNDS_PER_EXAMPLE: Final = 20
WARM_UP_ROUNDS: Final = 500
"""Fills the bounded caches of the standard library: that of urllib has room for 128 addresses."""
KEPT_BYTES: Final = 64 * 1024
"""What such a cache may hold more at one time than at another. Thousands of texts are more."""
BYTES_PER_CHAR: Final = 600
"""The most that a character may take while it is read: a key of a mapping, an object, its error."""
LONG_CHARS: Final = 64 * 1024
"""More than all header fields of a request together may have."""


each_parser = pytest.mark.parametrize("parser", list(PARSERS.values()), ids=list(PARSERS))


@each_parser
@given(data=st.data())
def test_only_the_documented_errors_escape(parser: Parser, data: st.DataObject) -> None:
    text = data.draw(values(parser.seeds))
    with suppress(*parser.raises):
        parser.parse(text)


@each_parser
def test_the_values_that_damage_starts_from_are_read(parser: Parser) -> None:
    """Else everything would be refused at its first character, and nothing behind it be met."""
    taken = 0
    for text in parser.seeds:
        with suppress(*parser.raises):
            parser.parse(text)
            taken += 1
    assert taken


@each_parser
@given(data=st.data())
def test_work_grows_with_the_length_and_not_with_its_square(
    parser: Parser, data: st.DataObject
) -> None:
    start, unit, end = data.draw(repeated(parser.seeds))
    short, long = (start + unit * times + end for times in (REPEATS, REPEATS * GROWTH))
    some = work_of(lambda: parser.parse(short), parser.raises)
    much = work_of(lambda: parser.parse(long), parser.raises)
    note(f"{len(short)} characters: {some}, {len(long)} characters: {much}")
    assert much <= 1.5 * GROWTH * some + WORK_PER_CHAR * len(long)


@each_parser
def test_nothing_is_kept_of_what_was_read(parser: Parser) -> None:
    rng, rounds = Random(1), settings().max_examples * ROUNDS_PER_EXAMPLE

    def read(times: int) -> None:
        for _ in range(times):
            with suppress(*parser.raises):
                parser.parse(damage(rng, parser.seeds))

    tracemalloc.start()
    try:
        read(WARM_UP_ROUNDS)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        read(rounds)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before <= KEPT_BYTES


@each_parser
def test_a_long_text_takes_no_more_memory_than_its_length_explains(parser: Parser) -> None:
    """And no more time than a test has: a regular expression that goes back and forth over it would
    take hours."""
    for unit in (*parser.seeds, *(f"{seed}, " for seed in parser.seeds), "a,", "a;", "(", '"', "="):
        text = (unit * (LONG_CHARS // len(unit) + 1))[:LONG_CHARS]
        tracemalloc.start()
        try:
            with suppress(*parser.raises):
                parser.parse(text)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak <= BYTES_PER_CHAR * LONG_CHARS, unit
