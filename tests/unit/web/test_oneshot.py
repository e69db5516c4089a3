"""One-shot uploads at the edge, over a service that does what a test wants."""

import json
import logging

import pytest

from tests.support.forms import file, form, form_type
from tests.support.wire import Response, Wire
from tests.unit.web.rig import Rig, running
from tusd_py.core.errors import (
    BodyMalformed,
    GateFailed,
    StateUnavailable,
    UploadError,
    UploadTooLarge,
)
from tusd_py.core.upload import Status

FORM = form(file(b"12345"))


async def put(wire: Wire, data: bytes = b"12345", name: str = "a", **headers: str) -> Response:
    return await wire.request("PUT", f"/upload/{name}", headers, data)


async def test_a_body_is_handed_to_the_service_as_it_is(rig: Rig, wire: Wire) -> None:
    answer = await put(wire)
    said = json.loads(answer.body)
    assert (answer.status, said["offset"], said["is_complete"]) == (201, 5, True)
    assert rig.bytes_of(answer.location) == b"12345"
    assert rig.access.seen == [None]
    assert rig.counted == [("PUT", 201, None)]
    assert await wire.is_usable()


async def test_they_can_be_switched_off() -> None:
    """Then what comes is tus without its header, or a method that is not there."""
    async with running(one_shot=False) as rig:
        wire = await rig.wire()
        assert (await put(wire)).status == 405
        answer = await wire.request("POST", "/upload/", form_type(), FORM)
        assert (answer.status, rig.uploads.records) == (412, {})


@pytest.mark.parametrize("error", [GateFailed(), BodyMalformed(), StateUnavailable()])
async def test_what_the_service_left_is_named(rig: Rig, wire: Wire, error: UploadError) -> None:
    """With the offset that the error knows, and without where it knows none."""
    rig.uploads.answers_with = error
    for offset in (None, 3):
        error.offset = offset
        answer = await put(wire)
        (left,) = json.loads(answer.body)["uploads"]
        assert (left["offset"], left["location"]) == (offset, answer.location)
        assert answer.headers.get("Upload-Offset") == (None if offset is None else "3")
    assert rig.uploads.forgotten == []


async def test_what_can_never_be_whole_is_forgotten(
    rig: Rig, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    """Where that fails the refusal is told all the same; the sweeper finds the rest."""
    rig.uploads.answers_with = UploadTooLarge(max_bytes=1)
    first = await put(wire)
    assert (first.status, rig.uploads.forgotten) == (413, [f"{1:032x}"])
    assert "Location" not in first.headers and b"uploads" not in first.body

    async def fails(upload_id: str) -> None:
        raise StateUnavailable()

    rig.uploads.forget = fails  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING):
        assert (await put(wire)).status == 413
    assert [record.message for record in caplog.records] == ["forget_failed"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (Status.REJECTED, "ERR_TOKEN_SCOPE"),
        (Status.TERMINATING, "ERR_TOKEN_SCOPE"),
        (Status.RECEIVING, "ERR_OFFSET_MISMATCH"),
    ],
)
async def test_a_repeated_creation_that_is_not_complete_is_no_success(
    rig: Rig, wire: Wire, status: Status, code: str
) -> None:
    """A token for one file finds the first request's upload, whatever became of that."""
    rig.uploads.finds = status
    answer = await put(wire)
    assert json.loads(answer.body)["code"] == code
    assert ("Location" in answer.headers) == (status is Status.RECEIVING)


async def test_a_repeated_creation_that_is_complete_is_invited_all_the_same(
    rig: Rig, wire: Wire
) -> None:
    """Some clients take an answer without a 100 for a refusal."""
    rig.uploads.finds = Status.COMPLETE
    await wire.send_head("PUT", "/upload/a", {"Expect": "100-continue", "Content-Length": "5"})
    assert await wire.read_continue() is None
    await wire.send(b"12345")
    assert (await wire.read_response()).status == 201
    assert await wire.is_usable()


async def test_a_broken_chunk_is_the_bodys_fault_and_not_the_forms(rig: Rig, wire: Wire) -> None:
    headers = form_type() | {"Transfer-Encoding": "chunked"}
    for broken, code in ((b"zz\r\n", "ERR_BODY_MALFORMED"), (b"0\r\n\r\n", "ERR_FORM_INVALID")):
        other = await rig.wire()
        rig.uploads.answers_with = BodyMalformed()
        await other.send_head("POST", "/upload/", headers)
        await other.send_chunk(FORM[:-20])
        await rig.uploads.reaches(5)
        await other.send(broken)
        answer = await other.read_response()
        assert (answer.status, json.loads(answer.body)["code"]) == (400, code)


async def test_a_fault_of_ours_is_a_500_without_its_text(rig: Rig, wire: Wire) -> None:
    rig.uploads.fails_with.append(RuntimeError("secret"))
    answer = await put(wire)
    assert answer.status == 500 and b"secret" not in answer.body


async def test_nothing_is_begun_while_the_server_stops(rig: Rig, wire: Wire) -> None:
    rig.site._endpoint.is_stopping = True
    assert (await put(wire)).status == 503
    assert (await wire.request("POST", "/upload/", form_type(), FORM)).status == 503
    assert rig.uploads.records == {}
