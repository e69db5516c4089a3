"""Field values that nobody means: well-formed ones that were damaged, pieces of grammar, noise."""

from collections.abc import Sequence
from random import Random
from typing import Final

from hypothesis import strategies as st

MAX_EDITS: Final = 6
MAX_CHARS: Final = 4000
NOISE: Final = (
    *"\x00\t\n\r \"'(),-./0159:;<=>?@AZ[\\]_az{|}~%*+&#\x7f\x80\xa0ÿ²٣İ\u2028\ufeff\U0001f600",
    # A byte of a header that is not UTF-8 arrives as a lone surrogate.
    *"\udc80\udcff\ud800",
    *("  ", ", ", "; ", "==", "%00", "%2e%2e%2f", "../", "-1", "1_0", "9" * 20, "A" * 64, '\\"'),
)


def damage(rng: Random, seeds: Sequence[str]) -> str:
    """One of the ``seeds`` after a few edits: cut, doubled, crossed with another, with noise."""
    text = rng.choice(seeds)
    for _ in range(rng.randrange(MAX_EDITS)):
        start = rng.randrange(len(text) + 1)
        end = min(len(text), start + rng.choice((0, 1, 1, 2, 8, len(text))))
        match rng.randrange(5):
            case 0:
                new = ""
            case 1:
                new = text[start:end] * 2
            case 2:
                other = rng.choice(seeds)
                new = other[rng.randrange(len(other) + 1) :]
            case _:
                new = rng.choice(NOISE)
        text = text[:start] + new + text[end:]
    return text[:MAX_CHARS]


def dice() -> st.SearchStrategy[Random]:
    """Half of them thrown by Hypothesis, which makes a failure small; half by themselves, which
    reach further."""
    return st.randoms(use_true_random=False) | st.builds(Random, st.integers(0, 2**64 - 1))


def values(seeds: Sequence[str]) -> st.SearchStrategy[str]:
    """Texts around ``seeds``, and any text at all."""
    damaged = st.builds(damage, dice(), st.just(tuple(seeds)))
    pieces = st.lists(st.sampled_from((*NOISE, *seeds)), max_size=8).map("".join)
    return damaged | damaged | pieces | st.text(st.characters(exclude_categories=()), max_size=60)


def repeated(seeds: Sequence[str]) -> st.SearchStrategy[tuple[str, str, str]]:
    """What a long text is made of: how it begins, what it repeats, how it ends."""
    edge = st.sampled_from(("", *seeds)) | st.sampled_from(NOISE)
    units = st.lists(st.sampled_from((*NOISE, *seeds)), min_size=1, max_size=2).map("".join)
    return st.tuples(edge, units.map(lambda unit: unit[:24]).filter(bool), edge)
