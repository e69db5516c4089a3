"""Events reach receivers whatever becomes of them or of the server."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.installations import serving
from tests.e2e.rig import (
    KIB,
    SOON,
    assert_finished,
    completion_ids,
    content,
    created,
    finished,
    hooked,
    kinds,
    until,
    upload_id,
    webhook,
)
from tests.e2e.stage import Stage
from tests.support import tus
from tests.support.receiver import (
    FAILS,
    HANGS,
    OK,
    Answer,
    Delivery,
    receiving,
    slow_down,
)
from tests.support.server import REPOSITORY, Server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("hooks")]

DATA = content(64 * KIB)
ALL = ["upload.created", "upload.completed"]


# ------------------------------------------------------------------ webhooks


def deliveries(stage: Stage, url: str) -> list[Delivery]:
    """What came of that upload, taken or not."""
    return [one for one in stage.receiver.deliveries if one.upload_id == upload_id(url)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One for all that need no more; each leaves no event that waits."""
    directory = tmp_path_factory.mktemp("hooks")
    async with receiving() as receiver:
        settings = hooked(directory, receiver)
        settings["hooks"][0] |= {"deadline_seconds": 0.5}
        async with serving(directory, settings) as server:
            yield Stage(server, receiver)


async def test_an_event_is_signed_and_says_what_is_known(stage: Stage) -> None:
    """A CloudEvent, signed by the Standard Webhooks scheme, with all that a job needs."""
    server, receiver = stage.server, stage.receiver
    url = await finished(server, DATA)
    await assert_finished(server, receiver, url, DATA)
    told = receiver.of(upload_id(url), "upload.completed")[0]
    assert told.headers["Content-Type"].startswith("application/cloudevents+json")
    assert told.headers["webhook-id"] == told.event_id
    assert (told.event["specversion"], told.event["subject"]) == ("1.0", upload_id(url))
    assert (told.data["video_id"], told.data["client_id"]) == ("1001", "7")
    assert told.data["metadata"] == {
        "filename": "film.mp4",
        "client_id": "7",
        "video_id": "1001",
    }
    assert kinds(receiver, url) == ALL


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param([FAILS, FAILS, FAILS], id="answers 500"),
        pytest.param([Answer(302, {"Location": "/elsewhere"}), Answer(410)], id="moved and gone"),
        pytest.param([HANGS, HANGS], id="hangs"),
    ],
)
async def test_a_receiver_in_trouble_gets_everything_in_order(
    stage: Stage, trouble: list[Answer]
) -> None:
    """What is not taken is told again under the same id, and nothing overtakes it."""
    server, receiver = stage.server, stage.receiver
    receiver.answer(*trouble)
    url = await finished(server, DATA)
    await assert_finished(server, receiver, url, DATA)
    assert kinds(receiver, url) == ALL
    first = [one for one in deliveries(stage, url) if one.kind == "upload.created"]
    assert len(first) == len(trouble) + 1
    assert len({one.event_id for one in first}) == 1
    assert len({one.body for one in first}) == 1


async def test_a_receiver_that_is_away_gets_everything_when_it_is_back(stage: Stage) -> None:
    """Refused connections cost nothing but time; each upload's events come in order."""
    server, receiver = stage.server, stage.receiver
    await receiver.go_away()
    urls = [await finished(server, DATA, video_id=str(number)) for number in range(10)]
    ids = {upload_id(url) for url in urls}
    await server.logged(
        lambda one: one.get("event") == "delivery_failed" and one.get("upload_id") in ids
    )
    assert not any(deliveries(stage, url) for url in urls)
    await receiver.come_back()
    for url in urls:
        await assert_finished(server, receiver, url, DATA)
        assert kinds(receiver, url) == ALL


async def test_retry_after_is_honoured(stage: Stage) -> None:
    """429 with ``Retry-After: 2`` is not asked again before."""
    stage.receiver.answer(slow_down(2))
    url = await finished(stage.server, DATA)
    await assert_finished(stage.server, stage.receiver, url, DATA)
    refused, taken = deliveries(stage, url)[:2]
    assert refused.event_id == taken.event_id
    assert taken.at - refused.at >= 2.0


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
async def test_undelivered_events_outlive_the_server(stage: Stage, kill: bool) -> None:
    """The receiver is away while uploads finish and the server ends; the next one tells all."""
    server, receiver = stage.server, stage.receiver
    await receiver.go_away()
    urls = [await finished(server, DATA, video_id=str(number)) for number in range(5)]
    await server.restart(kill=kill)
    urls.append(await finished(server, DATA, video_id="later"))
    await server.restart(kill=kill)
    await receiver.come_back()
    for url in urls:
        await assert_finished(server, receiver, url, DATA)
        assert kinds(receiver, url) == ALL


@pytest.mark.parametrize("trouble", ["hangs", "away"])
async def test_a_bad_receiver_delays_no_other(tmp_path: Path, trouble: str) -> None:
    """Two receivers: one has everything before the other has taken a single event."""
    async with receiving() as good, receiving() as bad:
        settings = hooked(tmp_path, good)
        settings["hooks"].append(webhook(tmp_path, bad, name="bad", deadline_seconds=1))
        bad.default = HANGS
        if trouble == "away":
            await bad.go_away()
        async with serving(tmp_path, settings) as server:
            urls = [await finished(server, DATA, video_id=str(number)) for number in range(30)]
            for url in urls:
                await assert_finished(server, good, url, DATA)
            assert bad.taken == []
            bad.default = OK
            await bad.come_back()
            for url in urls:
                await assert_finished(server, bad, url, DATA)
                assert kinds(bad, url) == kinds(good, url) == ALL


async def test_dead_letters_are_listed_and_replayed(tmp_path: Path) -> None:
    """An event that nobody took in all its time; the operator sends it again, same id."""
    async with receiving() as receiver:
        receiver.default = FAILS
        settings = hooked(tmp_path, receiver)
        settings["outbox"] = SOON | {"give_up_seconds": 0.5}
        async with serving(tmp_path, settings) as server:
            url = await finished(server, DATA)
            await until(lambda: _buried(server) == 2)
            letters = json.loads(await command(server, "events", "dead", "--json"))["dead_letters"]
            assert {one["kind"] for one in letters} == set(ALL)
            assert {one["upload_id"] for one in letters} == {upload_id(url)}
            assert all("500" in one["reason"] for one in letters)
            receiver.default = OK
            assert receiver.taken == []
            replayed = await command(server, "events", "replay", "--hook", "video", "--json")
            assert json.loads(replayed) == {"replayed": 2}
            await assert_finished(server, receiver, url, DATA)
            after = json.loads(await command(server, "events", "dead", "--json"))
            assert after == {"dead_letters": []}


# ------------------------------------------------------------------ destinations


async def test_a_finished_file_is_where_the_template_says(tmp_path: Path) -> None:
    """The event names the place; a second file of the same name takes another one."""
    async with receiving() as receiver:
        store = {"destination": "{client_id}/{video_id}/{filename}"}
        settings = hooked(tmp_path, receiver, store=store)
        async with serving(tmp_path, settings) as server:
            places = []
            for data in (DATA, DATA[::-1], b""):
                url = await finished(server, data) if data else await created(server, 0)
                told = await receiver.told(upload_id(url), "upload.completed")
                place = server.files_root / told.data["place"]
                assert _read(place) == data
                found = await tus.head(url)
                assert (found.status, found.offset) == (200, len(data))
                assert completion_ids(receiver, url) == {told.event_id}
                places.append((place, url))
            root = server.files_root / "7" / "1001"
            (first, _), *others = places
            assert first == root / "film.mp4"
            for place, url in others:
                assert place.parent == root
                assert upload_id(url) in place.name and place.suffix == ".mp4"


# ------------------------------------------------------------------ the command line


async def command(server: Server, *words: str) -> str:
    """Run ``tusd-py`` on the server's settings; what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tusd_py", *words),
        *server.own_flags,
        cwd=server.directory,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


def _read(path: Path) -> bytes:
    return path.read_bytes()


def _buried(server: Server) -> int:
    return sum(record.get("event") == "event_buried" for record in server.logs)
