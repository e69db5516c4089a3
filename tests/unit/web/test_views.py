"""The status pages on the wire."""

import json
from typing import Any

import pytest

from tests.unit.core.builders import AN_ID, AN_OWNER
from tests.unit.web.files import FILE, shelved
from tusd_py.core.errors import StateUnavailable
from tusd_py.core.identity import ANYBODY, Owner, Principal
from tusd_py.core.ids import ClientId, UploadId
from tusd_py.core.upload import Status
from tusd_py.state.base import StateError
from tusd_py.web.reading import EVENTS, STATUS

MINE = {"Authorization": "Bearer mine"}
LIST = "/upload/status"


async def test_the_status_of_an_upload_is_json_that_nobody_keeps() -> None:
    async with shelved() as rig:
        rig.shelf.put(offset=5, length=10)
        wire = await rig.wire()
        answer = await wire.request("GET", FILE + "/status")
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        said = json.loads(answer.body)
        assert (said["state"], said["offset"], said["percent"]) == ("receiving", 5, 50.0)
        assert await wire.is_usable()


async def test_what_has_not_changed_need_not_be_sent_again() -> None:
    async with shelved() as rig:
        rig.shelf.put(offset=5)
        wire = await rig.wire()
        tag = (await wire.request("GET", FILE + "/status")).headers["ETag"]
        known = {"If-None-Match": tag}
        same = await wire.request("GET", FILE + "/status", known)
        assert (same.status, same.body, same.headers["ETag"]) == (304, b"", tag)
        rig.shelf.put(offset=6)
        changed = await wire.request("GET", FILE + "/status", known)
        assert (changed.status, json.loads(changed.body)["offset"]) == (200, 6)


@pytest.mark.parametrize("path", [FILE + "/status", FILE + "/events", LIST, "/upload/events"])
async def test_pages_are_read_and_nothing_else(path: str) -> None:
    """HTTP-METHOD, HTTP-HEADBODY."""
    async with shelved() as rig:
        rig.shelf.put()
        wire = await rig.wire()
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            refused = await wire.request(method, path, MINE)
            assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
        head = await wire.request("HEAD", path, MINE)
        assert (head.status, head.body) == (200, b"")
        options = await wire.request("OPTIONS", path)
        assert (options.status, options.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")
        asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
        preflight = await wire.request("OPTIONS", path, asked)
        assert "Last-Event-ID" in preflight.headers["Access-Control-Allow-Headers"]
        assert await wire.is_usable()


@pytest.mark.parametrize("leaf", [STATUS, EVENTS])
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("f" * 32, "ERR_UPLOAD_UNKNOWN"),
        ("F" * 32, "ERR_UPLOAD_UNKNOWN"),
        ("x", "ERR_UPLOAD_UNKNOWN"),
        ("%2e%2e", "ERR_UPLOAD_UNKNOWN"),
        ("", "ERR_NOT_FOUND"),
        (f"a/{AN_ID}", "ERR_NOT_FOUND"),
        (f"../{AN_ID}", "ERR_NOT_FOUND"),
        (f"{AN_ID}/", "ERR_NOT_FOUND"),
    ],
)
async def test_what_is_not_there_is_not_found(leaf: str, name: str, code: str) -> None:
    """SEC-PATH."""
    async with shelved() as rig:
        rig.shelf.put()
        wire = await rig.wire()
        answer = await wire.request("GET", f"/upload/{name}/{leaf}")
        assert (answer.status, json.loads(answer.body)["code"]) == (404, code)


async def test_where_they_are_off_there_are_no_pages() -> None:
    async with shelved(watch={"enabled": False}) as rig:
        rig.uploads.records[AN_ID] = rig.shelf.put()
        wire = await rig.wire()
        for path in (FILE + "/status", FILE + "/events", LIST, "/upload/events"):
            assert (await wire.request("GET", path, MINE)).status == 404


async def test_a_presented_token_must_be_genuine_and_the_owners() -> None:
    async with shelved() as rig:
        rig.shelf.put()
        wire = await rig.wire()
        for leaf in (STATUS, EVENTS):
            forged = await wire.request("GET", f"{FILE}/{leaf}", {"Authorization": "Bearer bad"})
            assert forged.status == 401
        assert (await wire.request("GET", FILE + "/status", MINE)).status == 200
        rig.shelf.put(owner=Owner(AN_OWNER.video_id, ClientId("another")))
        for leaf in (STATUS, EVENTS):
            assert (await wire.request("GET", f"{FILE}/{leaf}", MINE)).status == 403


async def test_a_state_that_is_away_is_503() -> None:
    async with shelved() as rig:
        rig.shelf.fails_with = StateError("away")
        wire = await rig.wire()
        for path in (FILE + "/status", FILE + "/events", LIST):
            answer = await wire.request("GET", path, MINE)
            assert (answer.status, json.loads(answer.body)["code"]) == (503, StateUnavailable.code)
            assert answer.headers["Retry-After"]


# ------------------------------------------------------------------ lists


async def test_a_list_is_walked_page_by_page() -> None:
    async with shelved() as rig:
        for n in range(5):
            rig.shelf.put(id=UploadId(f"{n:032x}"), offset=n)
        rig.shelf.put(id=AN_ID, owner=Owner(AN_OWNER.video_id, ClientId("another")))
        wire = await rig.wire()
        offsets: list[int] = []
        after, pages = "", 0
        while True:
            page: dict[str, Any] = json.loads(
                (await wire.request("GET", f"{LIST}?limit=2&after={after}", MINE)).body
            )
            offsets += [one["offset"] for one in page["uploads"]]
            pages += 1
            if (after := page["after"]) is None:
                break
        assert (offsets, pages) == ([0, 1, 2, 3, 4], 3)


async def test_a_list_holds_one_state_where_it_is_asked_for() -> None:
    async with shelved() as rig:
        rig.shelf.put(id=UploadId("1" * 32), status=Status.COMPLETE)
        rig.shelf.put(id=UploadId("2" * 32))
        wire = await rig.wire()
        page = json.loads((await wire.request("GET", LIST + "?state=complete", MINE)).body)
        assert [one["upload_id"] for one in page["uploads"]] == ["1" * 32]


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=101", "limit=-1", "limit=x", "limit=", "limit=1_0", "limit=²"),
        *("state=terminating", "state=", "state=x%0d%0aA:b", "after=x", "after=" + "F" * 32),
    ],
)
async def test_a_query_that_means_nothing_is_refused(query: str) -> None:
    """SEC-INJECT: in words of ours."""
    async with shelved() as rig:
        wire = await rig.wire()
        answer = await wire.request("GET", f"{LIST}?{query}", MINE)
        assert (answer.status, json.loads(answer.body)["code"]) == (400, "ERR_BAD_REQUEST")
        assert b"A:b" not in answer.body
        assert rig.shelf.looks == 0


@pytest.mark.parametrize("path", [LIST, "/upload/events"])
async def test_a_list_needs_a_token(path: str) -> None:
    async with shelved() as rig:
        wire = await rig.wire()
        for headers in ({}, {"Authorization": "Bearer bad"}):
            assert (await wire.request("GET", path, headers)).status == 401


@pytest.mark.parametrize("path", [LIST, "/upload/events"])
async def test_without_tokens_the_query_names_whose_uploads(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mode off: empty names are names, as uploads without metadata have them."""
    async with shelved() as rig:

        async def anybody(bearer: str | None) -> Principal:
            return ANYBODY

        monkeypatch.setattr(rig.access, "for_listing", anybody)
        wire = await rig.wire()
        for query in ("", "?video_id=1", "?client_id=1"):
            refused = await wire.request("HEAD", path + query)
            assert refused.status in (400, 423)
            assert (await wire.request("GET", path + query)).status == 400
        for query in ("?video_id=1&client_id=2", "?video_id=&client_id="):
            assert (await wire.request("HEAD", path + query)).status == 200
