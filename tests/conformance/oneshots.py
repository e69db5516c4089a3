"""What the tests of one-shot uploads have in common."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from tests.conformance.uploads import stored_files
from tests.support import tus
from tests.support.forms import field, form_type
from tests.support.server import Server
from tests.support.wire import Response, Wire, request

IDS = {"video_id": "1001", "client_id": "7"}
VIDEO = {"Content-Type": "video/mp4"}


def bearer(server: Server, **claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.mint(**claims)}"}


def token_fields(server: Server, **ids: str) -> list[bytes]:
    """The fields that a form needs which has its token in it."""
    return [field(name, value) for name, value in (IDS | ids | {"token": server.mint()}).items()]


async def put(
    server: Server, data: bytes, name: str = "film.mp4", headers: Mapping[str, str] | None = None
) -> Response:
    """PUT with the token in the header, unless ``headers`` have something else."""
    return await request("PUT", server.endpoint + name, bearer(server) | dict(headers or {}), data)


async def post_form(
    server: Server, body: bytes, headers: Mapping[str, str] | None = None
) -> Response:
    return await request("POST", server.endpoint, form_type() | dict(headers or {}), body)


def made(answer: Response) -> list[dict[str, Any]]:
    """The uploads of a success, each complete."""
    assert answer.status == 201, (answer.status, answer.text)
    assert answer.headers["Content-Type"] == "application/json"
    said = json.loads(answer.body)
    uploads: list[dict[str, Any]] = said.get("uploads", [said])
    assert answer.location == uploads[0]["location"]
    for one in uploads:
        assert one["is_complete"] is True and one["offset"] == one["length"]
        assert one["location"].endswith("/upload/" + one["id"])
    return uploads


def refused(answer: Response, status: int, code: str) -> dict[str, Any]:
    """What a refusal says; it is plain JSON, and carries nothing of tus but what it is about."""
    assert answer.status == status, (answer.status, answer.text)
    said: dict[str, Any] = json.loads(answer.body)
    assert said["code"] == code, said
    assert said["message"].endswith((".", ")", "…")) and len(said["message"]) < 300
    assert said["request_id"] == answer.headers["X-Request-ID"]
    assert answer.headers["Access-Control-Allow-Origin"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Tus-Resumable" not in answer.headers
    return said


def left_of(answer: Response, offset: int) -> str:
    """The URL of the upload that was cut short, which the refusal names with its offset."""
    said = json.loads(answer.body)["uploads"][-1]
    assert (answer.offset, said["offset"], said["is_complete"]) == (offset, offset, False)
    assert answer.location == said["location"]
    return answer.location


def new_ids(server: Server, before: set[str]) -> set[str]:
    """Of uploads that were not there before."""
    return {name.partition(".")[0] for name in stored_files(server) - before}


async def go_on(url: str, data: bytes, headers: Mapping[str, str] | None = None) -> int:
    """Go on by tus as a client does that has only the file: ask, send the rest. The offset."""
    head = await tus.head(url, headers=headers)
    assert head.status == 200, head.status
    length = {} if head.length is not None else {"Upload-Length": str(len(data))}
    assert ("Upload-Defer-Length" in head.headers) == (head.length is None)
    sent = dict(headers or {}) | length
    done = await tus.patch(url, head.offset, data[head.offset :], headers=sent)
    assert (done.status, done.offset) == (204, len(data)), done.text
    return head.offset


async def send_slowly(wire: Wire, data: bytes, step: int) -> None:
    """In segments of this size."""
    for at in range(0, len(data), step):
        await wire.send(data[at : at + step])
        await asyncio.sleep(0)
