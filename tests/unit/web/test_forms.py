"""Forms: whatever the segments they come in, the same fields and files come out."""

import asyncio

import pytest

from tests.contract.stores import Script
from tests.support.forms import CURL, FIREFOX, WEBKIT, field, file, form, part
from tusd_py.core.errors import BodyMalformed, BodyTooSlow, ClientGone, FormInvalid
from tusd_py.streams import SourceEnd
from tusd_py.web.form_parts import (
    MAX_AROUND_BYTES,
    FormLimits,
)
from tusd_py.web.forms import STEP_BYTES, Form, FormFile

LIMITS = FormLimits(max_files=4, max_field_bytes=2000)
Read = tuple[dict[str, bytes], str, bytes, SourceEnd | None]
"""A file: fields before it, its disposition, its bytes, its end."""


def a_form(*pieces: bytes | asyncio.Event, end: SourceEnd = SourceEnd.COMPLETE) -> Form:
    return Form(WEBKIT, Script(*pieces, end=end), LIMITS)


async def read_file(found: FormFile) -> Read:
    data = b""
    while piece := await found.read():
        data += piece
    disposition = found.headers.getall("Content-Disposition", [""])[0]
    return dict(found.fields), disposition, data, found.end


async def read_all(read: Form) -> list[Read]:
    files = []
    while (found := await read.next_file()) is not None:
        files.append(await read_file(found))
    return files


async def content_of(body: bytes, *, boundary: bytes = WEBKIT) -> list[bytes]:
    """The files of a form that comes at once."""
    return [data for _, _, data, _ in await read_all(Form(boundary, Script(body), LIMITS))]


# ------------------------------------------------------------------ what comes out


async def test_fields_before_a_file_are_its_own_and_the_next_ones() -> None:
    """A field holds until it is said anew; those behind the last file are nobody's."""
    body = form(
        field("token", "t"),
        field("take", "1"),
        file(b"one", "a.mp4"),
        field("take", "2"),
        file(b"two", "b.mp4"),
        field("late", "x"),
    )
    first, second = await read_all(a_form(body))
    assert (first[0], first[2]) == ({"token": b"t", "take": b"1"}, b"one")
    assert (second[0], second[2]) == ({"token": b"t", "take": b"2"}, b"two")
    assert first[3] is second[3] is SourceEnd.COMPLETE
    assert 'filename="b.mp4"' in second[1]


async def test_a_name_or_type_given_as_a_field_is_for_one_file() -> None:
    body = form(field("filename", "x"), field("filetype", "y"), file(b"1"), file(b"2"))
    assert [fields for fields, *_ in await read_all(a_form(body))] == [
        {"filename": b"x", "filetype": b"y"},
        {},
    ]


async def test_what_is_told_beside_the_form_holds_until_the_form_says_otherwise() -> None:
    told = {"video_id": b"1", "client_id": b"2"}
    body = form(field("client_id", "3"), file(b""))
    files = await read_all(Form(WEBKIT, Script(body), LIMITS, told))
    assert files[0][0] == {"video_id": b"1", "client_id": b"3"}


@pytest.mark.parametrize(
    "boundary", [WEBKIT, FIREFOX, CURL, b"x", b"a b", b"'()+_,-./:=?" + b"z" * 58]
)
async def test_every_boundary_that_clients_make_is_found(boundary: bytes) -> None:
    data = b"\r\n--" + boundary[:-1] + b"\r\n-- \r\n"
    assert await content_of(form(file(data), boundary=boundary), boundary=boundary) == [data]


@pytest.mark.parametrize("size", [0, 1, 65536, 1_000_000])
async def test_a_file_may_have_any_size(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"\r" * (size % 256)
    assert await content_of(form(file(data), file(b"next"))) == [data, b"next"]


async def test_text_around_the_parts_is_ignored() -> None:
    """RFC 2046, 5.1.1: preamble and epilogue; an epilogue that looks like a part is none."""
    body = form(
        file(b"1"),
        before=b"This is a form.\r\n--not the boundary\r\n",
        after=b"\r\n--" + WEBKIT + b"\r\n" + file(b"2"),
    )
    assert await content_of(body) == [b"1"]


async def test_blanks_behind_a_boundary_are_no_content() -> None:
    """RFC 2046, 5.1.1: transport padding."""
    body = form(field("a", "b"), file(b"1")).replace(WEBKIT + b"\r\n", WEBKIT + b" \t \r\n")
    assert (await read_all(a_form(body)))[0][:1] == ({"a": b"b"},)


async def test_a_control_without_a_file_is_no_file() -> None:
    """Browsers send an empty name and no bytes for it; with bytes it is a file all the same."""
    assert await content_of(form(file(b"", ""), file(b"1"))) == [b"1"]
    assert await content_of(form(file(b"2", ""), file(b"1"))) == [b"2", b"1"]
    assert await content_of(form(file(b"", "empty.txt"))) == [b""]


@pytest.mark.parametrize(
    "disposition",
    [
        "form-data; name=file; filename=film.mp4",
        'Form-Data; NAME="file"; FILENAME="film.mp4"',
        "form-data; name=\"file\"; filename*=utf-8''film.mp4",
        'form-data; filename="film.mp4"',
        'form-data; name="a;filename=b"; filename="a\\"b;.mp4"',
    ],
)
async def test_a_part_with_a_file_name_is_a_file(disposition: str) -> None:
    """Quoted or not, in the extended form too, which old clients use for other than ASCII."""
    body = form(part([f"Content-Disposition: {disposition}"], b"1"))
    assert [(said, data) for _, said, data, _ in await read_all(a_form(body))] == [
        (disposition, b"1")
    ]


async def test_a_part_without_one_is_a_field_whatever_its_type() -> None:
    body = form(field("meta", '{"a": 1}', "Content-Type: application/json"), file(b"1"))
    assert (await read_all(a_form(body)))[0][0] == {"meta": b'{"a": 1}'}


async def test_a_form_without_files_ends() -> None:
    assert await content_of(form(field("a", "b"))) == []
    assert await content_of(b"--" + WEBKIT + b"--") == []


@pytest.mark.parametrize("coding", ["7bit", "8bit", "Binary"])
async def test_parts_that_are_sent_as_they_are_may_say_so(coding: str) -> None:
    lines = ['Content-Disposition: form-data; name="f"; filename="a"']
    body = form(part([*lines, f"Content-Transfer-Encoding: {coding}"], b"1"))
    assert await content_of(body) == [b"1"]


async def test_a_file_that_is_not_read_is_skipped() -> None:
    read = a_form(form(file(b"1" * 100), file(b"2")))
    first = await read.next_file()
    assert first is not None
    second = await read.next_file()
    assert second is not None
    assert (await read_file(second))[2] == b"2"


# ------------------------------------------------------------------ what ends early


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        form(file(b"1"), boundary=CURL),
        form(file(b"1"), is_ended=False),
        form(file(b"1"))[: -len(b"--\r\n")],
        form(field("a", "1"), is_ended=False),
    ],
)
async def test_a_form_without_its_last_boundary_is_none(body: bytes) -> None:
    with pytest.raises(FormInvalid, match="its last boundary is missing"):
        await read_all(a_form(*filter(None, [body])))


async def test_what_came_before_a_fault_counts() -> None:
    """The file that the fault ends is cut as if its client had hung up; the form says why."""
    body = form(file(b"1"), file(b"2"), field("a b", "1"), is_ended=False)
    read = a_form(body)
    files = [await read_file(found) for _ in range(2) if (found := await read.next_file())]
    assert [(data, end) for _, _, data, end in files] == [
        (b"1", SourceEnd.COMPLETE),
        (b"2", SourceEnd.COMPLETE),
    ]
    with pytest.raises(FormInvalid, match="the name of a field"):
        await read.next_file()


@pytest.mark.parametrize(
    ("end", "cut_end", "error"),
    [
        (SourceEnd.COMPLETE, SourceEnd.MALFORMED, FormInvalid),
        (SourceEnd.HUNG_UP, SourceEnd.HUNG_UP, ClientGone),
        (SourceEnd.TOO_SLOW, SourceEnd.TOO_SLOW, BodyTooSlow),
        (SourceEnd.MALFORMED, SourceEnd.MALFORMED, BodyMalformed),
    ],
)
async def test_a_cut_file_tells_how_the_body_ended(
    end: SourceEnd, cut_end: SourceEnd, error: type[Exception]
) -> None:
    """A body that ends in order within a file is a malformed form, never a complete file."""
    read = a_form(form(file(b"12345"), is_ended=False), end=end)
    found = await read.next_file()
    assert found is not None
    assert (await read_file(found))[2:] == (b"12345", cut_end)
    assert await found.read() == b""
    assert (read.error is not None) == (error is FormInvalid)
    with pytest.raises(error):
        await read.next_file()


async def test_what_may_be_a_boundary_is_no_content_when_the_body_is_cut() -> None:
    """The offset then stands before it, and the client sends it again."""
    body = form(file(b"12345"))[: -len(b"--\r\n")]
    read = a_form(body, end=SourceEnd.HUNG_UP)
    found = await read.next_file()
    assert found is not None
    assert (await read_file(found))[2:] == (b"12345", SourceEnd.HUNG_UP)


# ------------------------------------------------------------------ in time, and in memory


async def test_no_more_is_read_than_is_asked_for() -> None:
    """The file's first bytes are handed out before the rest of the form has come."""
    gate = asyncio.Event()
    body = form(file(b"12345"))
    read = a_form(body[:-44], gate, body[-44:])
    found = await read.next_file()
    assert found is not None
    waiting = asyncio.create_task(read_file(found))
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.set()
    assert (await waiting)[2] == b"12345"


async def test_cancelling_loses_no_byte() -> None:
    """Also between the steps in which a doubtful piece is looked at."""
    data = (b"\r\n--" + WEBKIT + b"x") * (4 * STEP_BYTES // 42)
    gate = asyncio.Event()
    body = form(file(data))
    read = a_form(body[:200], gate, body[200:])
    found = await read.next_file()
    assert found is not None
    got = b""
    while len(got) < len(data):
        waiting = asyncio.create_task(found.read())
        for _ in range(2):
            await asyncio.sleep(0)
        if not waiting.cancel():
            got += waiting.result()
        gate.set()
    assert got == data


async def test_what_looks_like_boundaries_lets_others_have_their_turn() -> None:
    """The parser is slow there: a piece of it is looked at in steps, with others in between."""
    data = (b"\r\n--" + WEBKIT + b"x") * (8 * STEP_BYTES // 42)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    assert await content_of(form(file(data))) == [data]
    task.cancel()
    assert turns >= 8


async def test_the_rest_behind_the_last_boundary_is_read_but_not_for_ever() -> None:
    body = Script(form(file(b"")), b"1" * (MAX_AROUND_BYTES - 1), b"2", b"3")
    read = Form(WEBKIT, body, LIMITS)
    assert len(await read_all(read)) == 1
    await read.finish()
    assert await body.read() == b"3"


async def test_a_rest_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tusd_py.web.forms.AFTER_SECONDS", 0.01)
    read = a_form(form(file(b"")), asyncio.Event())
    assert len(await read_all(read)) == 1
    await read.finish()
