"""How uploads stand: asked for and told, without disturbing them."""

import asyncio
import json
from typing import Any

from tests.conformance.uploads import METADATA, id_of, new_upload, refusal
from tests.support import tus
from tests.support.events import Listener
from tests.support.server import Server
from tests.support.wire import Wire, connected, request

MIB = 1024 * 1024


async def status(url: str, token: str | None = None) -> dict[str, Any]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    answer = await request("GET", url + "/status", headers)
    assert answer.status == 200, answer.text
    said: dict[str, Any] = json.loads(answer.body)
    return said


async def listen(wire: Wire, target: str, token: str | None = None) -> Listener:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    await wire.send_head("GET", target, headers)
    head = await wire.read_stream_head()
    assert (head.status, head.headers["Content-Type"]) == (200, "text/event-stream")
    listener = Listener(wire)
    await listener.events("retry")
    return listener


async def test_an_upload_is_told_from_its_creation_to_its_end(server: Server) -> None:
    """HTTP-SAFE, TUS-CORE-38."""
    url = await new_upload(server, length=8)
    said = await status(url)
    assert said["upload_id"] == id_of(url)
    assert (said["state"], said["offset"], said["length"]) == ("receiving", 0, 8)
    assert said["metadata"] == METADATA
    assert said["created_at"] <= said["expires_at"]
    assert (await tus.patch(url, 0, b"1234")).status == 204
    said = await status(url)
    assert (said["offset"], said["percent"]) == (4, 50.0)
    assert (await tus.patch(url, 4, b"5678")).status == 204
    said = await status(url)
    assert (said["state"], said["offset"], said["percent"]) == ("complete", 8, 100.0)
    assert said["finished_at"] and said["expires_at"] is None
    assert (await tus.delete(url)).status == 204
    refusal(await request("GET", url + "/status"), 404, "ERR_UPLOAD_UNKNOWN")


async def test_looking_disturbs_no_body(eager_server: Server) -> None:
    """HTTP-SAFE: fifty looks and two streams while a body comes; it is one PATCH from its first
    byte to its last, and the viewers see it grow."""
    server, data = eager_server, b"x" * MIB
    url = await new_upload(server, length=2 * MIB)
    async with connected(url) as body, connected(url) as one, connected(url) as all_of_them:
        await tus.begin_patch(body, url, 0, 2 * MIB)
        await body.send(data)
        follower = await listen(one, url + "/events")
        await listen(all_of_them, server.endpoint + "events", server.mint())
        seen: dict[str, Any] = {"offset": 0}
        async with asyncio.timeout(20):
            while seen["offset"] < MIB:
                (event,) = await follower.events("status")
                assert event.data["offset"] >= seen["offset"]
                seen = event.data
        looks = await asyncio.gather(*(status(url, server.mint()) for _ in range(50)))
        assert {look["offset"] for look in looks} == {MIB}
        await body.send(data)
        done = await body.read_response()
        assert (done.status, done.offset) == (204, 2 * MIB)
        async with asyncio.timeout(20):
            while (event := await follower.event()).kind != "end":
                assert event.data["offset"] >= seen["offset"]
        assert event.data["state"] == "complete"


async def test_a_list_is_of_one_client_and_one_video(server: Server) -> None:
    """TUS-CORE-38, SEC-ID: a token is needed, and shows its own; page by page."""
    refusal(await request("GET", server.endpoint + "status"), 401, "ERR_TOKEN_INVALID")
    mine = server.mint(client_id="lister", video_id="listed")
    own = METADATA | {"client_id": "lister", "video_id": "listed"}
    made = {
        id_of((await tus.create(server.endpoint, length=5, metadata=own, bearer=mine)).location)
        for _ in range(5)
    }
    await new_upload(server)
    headers, found, after = {"Authorization": f"Bearer {mine}"}, [], ""
    while True:
        asked = f"{server.endpoint}status?limit=2&state=receiving&after={after}"
        page = json.loads((await request("GET", asked, headers)).body)
        found += [one["upload_id"] for one in page["uploads"]]
        if (after := page["after"]) is None:
            break
    assert len(found) == 5 and set(found) == made
    expired = server.mint(seconds=-10)
    for name in ("status", "events"):
        answer = await request(
            "GET", server.endpoint + name, {"Authorization": f"Bearer {expired}"}
        )
        refusal(answer, 401, "ERR_TOKEN_INVALID")


async def test_a_strangers_token_sees_nothing(server: Server, strict_server: Server) -> None:
    """TUS-CORE-38: as for every verb."""
    url = await new_upload(server)
    for leaf in ("/status", "/events"):
        stranger = {"Authorization": f"Bearer {server.mint(client_id='another')}"}
        refusal(await request("GET", url + leaf, stranger), 403, "ERR_TOKEN_CLIENT")
    url = await new_upload(strict_server)
    for leaf in ("/status", "/events"):
        refusal(await request("GET", url + leaf), 401, "ERR_TOKEN_INVALID")
    assert (await status(url, strict_server.mint()))["state"] == "receiving"


async def test_a_stream_is_framed_like_any_answer(server: Server) -> None:
    """HTTP-KEEPALIVE, HTTP-PIPELINE, CORS-ANSWER, HTTP-HEADBODY: another request goes on behind
    its end on the same connection."""
    url = await new_upload(server, length=3, data=b"123")
    async with connected(url) as wire:
        await wire.send(wire.head("GET", url + "/events") + wire.head("HEAD", url, tus.TUS))
        wire.expect_answer("GET")
        wire.expect_answer("HEAD")
        stream = await wire.read_response()
        assert stream.headers["Access-Control-Allow-Origin"] == "*"
        assert stream.headers["X-Content-Type-Options"] == "nosniff"
        assert stream.text.count("event: status\n") == stream.text.count("event: end\n") == 1
        assert (await wire.read_response()).offset == 3
