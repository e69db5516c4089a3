"""Forms in any segments, well formed, damaged, and made to be hard to read."""

import asyncio
import gc
import tracemalloc
from random import Random
from typing import Final

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from tests.contract.stores import Script
from tests.fuzz.work import work_of
from tests.support.forms import WEBKIT, field, file, form, part
from tusd_py.core.errors import BodyMalformed, BodyTooSlow, ClientGone, FormInvalid, UploadError
from tusd_py.streams import SourceEnd
from tusd_py.web.form_parts import Event, Field, FileEnd, FileHead, FormLimits, PartReader
from tusd_py.web.forms import Form, FormFile

pytestmark = pytest.mark.fuzz

LIMITS: Final = FormLimits(max_files=6, max_field_bytes=4000)
DELIMITER: Final = b"\r\n--" + WEBKIT
PIECES: Final = (
    *(b"\r\n", b"\r", b"\n", b"-", b"--", b"\r\n--", WEBKIT, WEBKIT[:-1], b"a", b"\0", b" "),
    *(b"\r\n\r\n", b":", b'"', b"\xff", b"\r\n--" + WEBKIT[:5]),
)
PARTS_OF_FORMS: Final = (
    field("video_id", "1001"),
    field("meta", "{}", "Content-Type: application/json"),
    file(b"12345"),
    file(b"", ""),
    part(["Content-Disposition: form-data; name=\"f\"; filename*=utf-8''%e2%82%ac"], b"1"),
    part(["Content-Disposition: form-data", "Content-Type: multipart/mixed"], b"1"),
)
ENDS: Final = {
    SourceEnd.COMPLETE: FormInvalid,
    SourceEnd.HUNG_UP: ClientGone,
    SourceEnd.TOO_SLOW: BodyTooSlow,
    SourceEnd.MALFORMED: BodyMalformed,
}
PIECE_BYTES: Final = 4096
STREAM_PIECES: Final = 256
WORK_PER_BYTE: Final = 100
"""Lines of the parser and of ours for a byte that comes alone."""
KEPT_BYTES: Final = 160 * 1024
"""What a reader may hold of a stream a MiB long: bounds of heads and fields, the present piece."""

anything = st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join)
contents = anything.filter(lambda data: DELIMITER not in b"\r\n" + data)
segments = st.one_of(st.just([1]), st.lists(st.integers(1, 200), min_size=1, max_size=20))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A form whose parts are often odd, with pieces lost, doubled and put in."""
    parts = draw(st.lists(st.one_of(st.sampled_from(PARTS_OF_FORMS), anything), max_size=5))
    body = form(*parts, before=draw(anything), after=draw(anything))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(body)))
        gone = draw(st.integers(0, 30))
        body = body[:at] + draw(anything) + body[at + gone :]
    return body


def cut_up(body: bytes, sizes: list[int]) -> list[bytes]:
    """The body in segments of these sizes, again and again."""
    found, at, turn = [], 0, 0
    while at < len(body):
        found.append(body[at : at + sizes[turn % len(sizes)]])
        at += len(found[-1])
        turn += 1
    return found


def read(reader: PartReader, pieces: list[bytes]) -> list[Event]:
    """All events; the pieces of one file are joined."""
    events: list[Event] = []
    for piece in pieces:
        reader.feed(piece)
        for event in reader.events:
            if isinstance(event, bytes) and events and isinstance(events[-1], bytes):
                events[-1] += event
            else:
                events.append(event)
        reader.events.clear()
    return events


def plain(events: list[Event]) -> list[object]:
    """Events that can be compared."""
    found: list[object] = []
    for event in events:
        if isinstance(event, FileHead):
            found.append(event.headers.getall("Content-Disposition", []))
        else:
            found.append(FileEnd if isinstance(event, FileEnd) else event)
    return found


@given(
    parts=st.lists(st.tuples(st.booleans(), contents), max_size=6),
    before=contents,
    sizes=segments,
)
def test_any_form_in_any_segments_is_the_same_form(
    parts: list[tuple[bool, bytes]], before: bytes, sizes: list[int]
) -> None:
    body = form(
        *[file(data) if is_file else field("a", data) for is_file, data in parts],
        before=before + b"\r\n" if before else b"",
    )
    reader = PartReader(WEBKIT, LIMITS)
    events = read(reader, cut_up(body, sizes))
    assert reader.error is None and reader.is_over
    expected: list[object] = []
    for is_file, data in parts:
        if is_file:
            expected += [FileHead, *([data] if data else []), FileEnd]
        else:
            expected.append(Field("a", data))
    assert [type(e) if isinstance(e, FileHead | FileEnd) else e for e in events] == expected


@given(body=damaged(), sizes=segments)
def test_what_is_no_form_is_the_same_in_any_segments(body: bytes, sizes: list[int]) -> None:
    """FormInvalid is all that can be wrong; what came before the fault is the same files, and a
    file's bytes and end never come without its head."""
    at_once, torn = PartReader(WEBKIT, LIMITS), PartReader(WEBKIT, LIMITS)
    events = read(at_once, [body])
    assert plain(events) == plain(read(torn, cut_up(body, sizes)))
    assert str(at_once.error) == str(torn.error) and at_once.is_over == torn.is_over
    is_open = False
    for event in events:
        assert is_open == isinstance(event, bytes | FileEnd)
        is_open = isinstance(event, bytes | FileHead)
    assert not (is_open and at_once.is_over)


@given(body=damaged(), sizes=segments, end=st.sampled_from(list(ENDS)))
def test_a_body_that_ends_anyhow_ends_its_files_so(
    body: bytes, sizes: list[int], end: SourceEnd
) -> None:
    """A file is complete with its boundary, and only then; nothing but the documented errors comes
    out of the form."""

    async def read_files() -> tuple[list[FormFile], UploadError | None]:
        files: list[FormFile] = []
        source = Form(WEBKIT, Script(*cut_up(body, sizes), end=end), LIMITS)
        try:
            while (found := await source.next_file()) is not None:
                files.append(found)
                while await found.read():
                    pass
        except UploadError as error:
            return files, error
        return files, None

    files, error = asyncio.run(read_files())
    assert all(found.end is SourceEnd.COMPLETE for found in files[:-1])
    if error is None:
        assert all(found.end is SourceEnd.COMPLETE for found in files)
    else:
        assert type(error) in (FormInvalid, ENDS[end])
        last = files[-1].end if files else None
        assert last in (None, SourceEnd.COMPLETE, SourceEnd.MALFORMED, end)


@given(
    unit=st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map(b"".join),
    size=st.sampled_from([100, PIECE_BYTES]),
)
def test_work_grows_with_the_length_and_not_with_its_square(unit: bytes, size: int) -> None:
    def feed(pieces: list[bytes]) -> None:
        reader = PartReader(WEBKIT, LIMITS)
        for piece in pieces:
            reader.feed(piece)
            reader.events.clear()

    def work(times: int) -> int:
        body = form(file(unit * times), is_ended=False)
        return work_of(lambda: feed(cut_up(body, [size])))

    some, much = work(4), work(32)
    note(f"{some} and {much}")
    assert much <= 1.5 * 8 * some + WORK_PER_BYTE * 32 * len(unit)


@pytest.mark.parametrize("unit", [*PIECES, *PARTS_OF_FORMS, DELIMITER, DELIMITER + b"\r"])
@pytest.mark.parametrize("place", ["before", "head", "field", "file", "boundary"])
def test_memory_does_not_grow_with_a_body(place: str, unit: bytes) -> None:
    """Whatever comes on and on, wherever in a form, no more is held than the bounds allow."""
    starts = {
        "before": b"",
        "head": DELIMITER[2:] + b"\r\nContent-Disposition: form-data; name=",
        "field": form(field("a", ""), is_ended=False),
        "file": form(file(b""), is_ended=False),
        "boundary": form(file(b""), is_ended=False) + DELIMITER,
    }
    reader = PartReader(WEBKIT, LIMITS)
    reader.feed(starts[place])
    rng = Random(1)
    stream = unit * (2 * PIECE_BYTES // len(unit) + 1)
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(STREAM_PIECES):
            at = rng.randrange(len(unit))
            reader.feed(stream[at : at + PIECE_BYTES])
            reader.events.clear()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= KEPT_BYTES
