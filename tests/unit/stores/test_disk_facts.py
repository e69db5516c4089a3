"""The facts journal survives being cut off anywhere."""

import asyncio
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.stores import an_id, facts
from tusd_py.core.facts import CompletionMark
from tusd_py.core.metadata import Metadata
from tusd_py.stores.base import StoreError
from tusd_py.stores.disk_facts import (
    MAX_FACTS_BYTES,
    TORN,
    FactsOfLaterVersion,
    build_facts_line,
    build_length_line,
    build_mark_line,
    build_staged_line,
    parse_journal,
)
from tusd_py.stores.disk_files import read_bounded

MARK = CompletionMark(length=7, finished_at=2.5, place="a/b.mp4")
LINES = (
    build_facts_line(facts(length=None)),
    build_length_line(7),
    build_staged_line("a/b.mp4"),
    build_mark_line(MARK),
)
WHOLE = b"".join(LINES)
OLD_KEYS = [
    "created_at",
    "creator",
    "expires_at",
    "id",
    "kind",
    "length",
    "max_bytes",
    "metadata",
    "overrides",
    "owner",
    "parts",
    "protocol",
    "v",
]
BOUNDS = [sum(map(len, LINES[:count])) for count in range(len(LINES) + 1)]


@pytest.mark.parametrize("end", range(len(WHOLE) + 1))
def test_a_journal_that_is_cut_says_what_its_whole_lines_say(end: int) -> None:
    """Cut at every byte: no facts, or true facts, never wrong ones."""
    lines = sum(1 for bound in BOUNDS[1:] if bound <= end)
    journal = parse_journal(WHOLE[:end], an_id())
    if lines == 0:
        assert journal is None
        return
    assert journal is not None
    assert journal.facts == facts(length=7 if lines >= 2 else None)
    assert journal.staged == ("a/b.mp4" if lines >= 3 else None)
    assert journal.mark == (MARK if lines >= 4 else None)
    assert journal.is_torn == (end not in BOUNDS)


@given(cut=st.integers(BOUNDS[1], len(WHOLE)), length=st.integers(0, 2**60))
def test_a_line_after_a_torn_one_is_read_and_the_torn_one_never_is(cut: int, length: int) -> None:
    """Also where only the newline was missing."""
    journal = parse_journal(WHOLE[:cut], an_id())
    assert journal is not None
    added = (TORN if journal.is_torn else b"") + build_length_line(length)
    after = parse_journal(WHOLE[:cut] + added, an_id())
    assert after is not None and not after.is_torn
    assert after.mark == journal.mark and after.staged == journal.staged
    wanted = length if journal.facts.length is None else journal.facts.length
    assert after.facts.length == wanted


@given(st.binary(max_size=200))
def test_rubbish_has_no_facts(data: bytes) -> None:
    """Whatever a broken disk gives back, reading it raises nothing."""
    assert parse_journal(data, an_id()) is None
    journal = parse_journal(LINES[0] + data, an_id())
    assert journal is not None and journal.facts == facts(length=None)


@given(
    wire=st.text(st.characters(exclude_characters="\ud800"), max_size=50).filter(
        lambda text: not any("\ud800" <= char < "\udc00" for char in text)
    )
)
def test_any_metadata_comes_back(wire: str) -> None:
    """One line, whatever is in it; undecodable bytes travel as lone low surrogates."""
    line = build_facts_line(facts(wire=wire))
    journal = parse_journal(line, an_id())
    assert line.count(b"\n") == 1
    assert journal is not None and journal.facts.metadata == Metadata(wire)


@pytest.mark.parametrize("concat", [None, "", "partial", "final;/files/a /files/b\udce9"])
@pytest.mark.parametrize("promised", [(), (("sha256", "YQ=="), ("md5", "Yg=="))])
def test_what_was_said_of_the_whole_comes_back(
    concat: str | None, promised: tuple[tuple[str, str], ...]
) -> None:
    """How it is concatenated, and what it should hash to."""
    given = replace(facts(), concat=concat, promised_digests=promised)
    journal = parse_journal(build_facts_line(given), an_id())
    assert journal is not None and journal.facts == given


def test_facts_that_say_nothing_of_the_whole_read_as_they_always_did() -> None:
    """A line written before there was such a thing parses, and one of today looks the same."""
    line = build_facts_line(facts())
    assert sorted(json.loads(line)) == OLD_KEYS
    journal = parse_journal(line, an_id())
    assert journal is not None
    assert (journal.facts.concat, journal.facts.promised_digests) == (None, ())


@pytest.mark.parametrize("promised", [7, "ab", [["sha256"]], [7], {"sha256": "YQ=="}])
def test_a_promise_that_makes_no_sense_is_no_fact(promised: object) -> None:
    """As with every other key of the first line."""
    line = json.loads(build_facts_line(facts())) | {"promised_digests": promised}
    assert parse_journal(json.dumps(line).encode() + b"\n", an_id()) is None


def test_facts_of_another_upload_are_not_taken() -> None:
    """A file that was copied or renamed does not become an upload."""
    assert parse_journal(LINES[0], an_id(2)) is None


def test_facts_of_a_later_version_are_not_taken_for_none() -> None:
    """They must not be swept away as an orphan's."""
    with pytest.raises(FactsOfLaterVersion):
        parse_journal(LINES[0].replace(b'"v":1', b'"v":2'), an_id())


@pytest.mark.parametrize(
    "line",
    [b'{"length":-1}', b'{"length":true}', b'{"length":"7"}', b'{"complete":7}', b"7", b"[[["],
)
def test_a_line_that_makes_no_sense_says_nothing(line: bytes) -> None:
    """It is passed over."""
    journal = parse_journal(LINES[0] + line + b"\n", an_id())
    assert journal is not None
    assert (journal.facts.length, journal.mark) == (None, None)


def test_facts_beyond_every_bound_are_not_written() -> None:
    """A reader would refuse them."""
    with pytest.raises(StoreError):
        build_facts_line(facts(wire="x" * MAX_FACTS_BYTES))


def test_a_file_beyond_the_bound_is_not_read(tmp_path: Path) -> None:
    """Nobody reads a file of gigabytes into memory."""
    (tmp_path / "f").write_bytes(b"12345")
    assert read_bounded(str(tmp_path / "f"), 5) == b"12345"
    with pytest.raises(StoreError):
        read_bounded(str(tmp_path / "f"), 4)
    with pytest.raises(StoreError):
        os.mkfifo(tmp_path / "fifo")
        read_bounded(str(tmp_path / "fifo"), 4)
    assert read_bounded(str(tmp_path / "none"), 4) is None


async def test_two_processes_that_add_lines_do_not_mix_them(tmp_path: Path) -> None:
    """Each line is one write in append mode."""
    path = tmp_path / "journal"
    path.write_bytes(LINES[0])
    code = (
        "import sys; from tusd_py.stores.disk_files import write_once\n"
        "for _ in range(500): write_once(sys.argv[1], sys.argv[2].encode(), flags=0, sync=False)"
    )
    mark = build_mark_line(CompletionMark(length=1, finished_at=1.0, place="p" * 700)).decode()
    running = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(path), mark)
        for _ in range(2)
    ]
    assert [await one.wait() for one in running] == [0, 0]
    assert path.read_bytes() == LINES[0] + mark.encode() * 1000
