"""Events reach receivers whatever becomes of them or of the server; gates decide what finishes."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.rig import (
    KIB,
    SOON,
    assert_finished,
    completion_ids,
    content,
    created,
    hooked,
    stored_bytes,
    until,
    upload_id,
    webhook,
)
from tests.support import tus
from tests.support.receiver import (
    FAILS,
    HANGS,
    OK,
    Answer,
    Receiver,
    receiving,
    slow_down,
)
from tests.support.server import REPOSITORY, Server, serving

DATA = content(64 * KIB)
ALL = ["upload.created", "upload.completed"]


async def finished(server: Server, data: bytes = DATA, **claims: Any) -> str:
    """An upload that is complete; its URL."""
    url = await created(server, len(data), **claims)
    done = await tus.patch(url, 0, data)
    assert (done.status, done.offset) == (204, len(data)), done.text
    return url


def kinds(receiver: Receiver, url: str) -> list[str]:
    """What was taken about an upload, in order, each event once."""
    seen: dict[str, str] = {}
    for one in receiver.of(upload_id(url)):
        seen.setdefault(one.event_id, one.kind)
    return list(seen.values())


# ------------------------------------------------------------------ webhooks


async def test_an_event_is_signed_and_says_what_is_known(tmp_path: Path) -> None:
    """A CloudEvent, signed by the Standard Webhooks scheme, with all that a job needs."""
    async with receiving() as receiver, serving(tmp_path, hooked(tmp_path, receiver)) as server:
        url = await finished(server)
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
    tmp_path: Path, trouble: list[Answer]
) -> None:
    """What is not taken is told again under the same id, and nothing overtakes it."""
    async with receiving() as receiver:
        receiver.answer(*trouble)
        settings = hooked(tmp_path, receiver)
        settings["hooks"][0] |= {"deadline_seconds": 0.5}
        async with serving(tmp_path, settings) as server:
            url = await finished(server)
            await assert_finished(server, receiver, url, DATA)
            assert kinds(receiver, url) == ALL
            first = [one for one in receiver.deliveries if one.kind == "upload.created"]
            assert len(first) == len(trouble) + 1
            assert len({one.event_id for one in first}) == 1
            assert len({one.body for one in first}) == 1


async def test_a_receiver_that_is_away_gets_everything_when_it_is_back(tmp_path: Path) -> None:
    """Refused connections cost nothing but time; each upload's events come in order."""
    async with receiving() as receiver, serving(tmp_path, hooked(tmp_path, receiver)) as server:
        await receiver.go_away()
        urls = [await finished(server, video_id=str(number)) for number in range(10)]
        await server.logged("delivery_failed")
        assert receiver.deliveries == []
        await receiver.come_back()
        for url in urls:
            await assert_finished(server, receiver, url, DATA)
            assert kinds(receiver, url) == ALL


async def test_retry_after_is_honoured(tmp_path: Path) -> None:
    """429 with ``Retry-After: 2`` is not asked again before."""
    async with receiving() as receiver:
        receiver.answer(slow_down(2))
        async with serving(tmp_path, hooked(tmp_path, receiver)) as server:
            url = await finished(server)
            await assert_finished(server, receiver, url, DATA)
            refused, taken = receiver.deliveries[:2]
            assert refused.event_id == taken.event_id
            assert taken.at - refused.at >= 2.0


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
            urls = [await finished(server, video_id=str(number)) for number in range(30)]
            for url in urls:
                await assert_finished(server, good, url, DATA)
            assert bad.taken == []
            bad.default = OK
            await bad.come_back()
            for url in urls:
                await assert_finished(server, bad, url, DATA)
                assert kinds(bad, url) == kinds(good, url) == ALL


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
async def test_undelivered_events_outlive_the_server(tmp_path: Path, kill: bool) -> None:
    """The receiver is away while uploads finish and the server ends; the next one tells all."""
    async with receiving() as receiver, serving(tmp_path, hooked(tmp_path, receiver)) as server:
        await receiver.go_away()
        urls = [await finished(server, video_id=str(number)) for number in range(5)]
        await server.restart(kill=kill)
        urls.append(await finished(server, video_id="later"))
        await server.restart(kill=kill)
        await receiver.come_back()
        for url in urls:
            await assert_finished(server, receiver, url, DATA)
            assert kinds(receiver, url) == ALL


async def test_dead_letters_are_listed_and_replayed(tmp_path: Path) -> None:
    """An event that nobody took in all its time; the operator sends it again, same id."""
    async with receiving() as receiver:
        receiver.default = FAILS
        settings = hooked(tmp_path, receiver)
        settings["outbox"] = SOON | {"give_up_seconds": 0.5}
        async with serving(tmp_path, settings) as server:
            url = await finished(server)
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


# ------------------------------------------------------------------ gates


GATE = """
import asyncio
from pathlib import Path

from tusd_py.hooks.base import Allow, Gate, Refuse

class Gatekeeper(Gate):
    def __init__(self, orders, asked):
        self._orders, self._asked = Path(orders), Path(asked)

    async def decide(self, question):
        with self._asked.open("a") as file:
            size = question.path.stat().st_size
            file.write(f"{question.moment} {question.upload['upload_id']} {size}\\n")
        match self._orders.read_text().split(" ", 2):
            case ["refuse", status, sentence]:
                return Refuse(sentence, status=int(status))
            case ["fail"]:
                raise RuntimeError("the scanner is away")
            case ["hang"]:
                await asyncio.Event().wait()
        return Allow()
"""


@dataclass(frozen=True, slots=True)
class Guarded:
    """A server with a finish gate that does as it is told."""

    server: Server
    receiver: Receiver
    directory: Path

    def order(self, text: str) -> None:
        (self.directory / "orders").write_text(text)

    def asked(self) -> list[list[str]]:
        """Moment, upload and size of the file, as the gate saw them."""
        file = self.directory / "asked"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


@asynccontextmanager
async def guarded(directory: Path, **upload: Any) -> AsyncIterator[Guarded]:
    package = directory / "plugins" / "house_rules"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(GATE)
    options = {"orders": str(directory / "orders"), "asked": str(directory / "asked")}
    gate = {
        "name": "scanner",
        "kind": "python",
        "target": "house_rules:Gatekeeper",
        "gates": ["finish"],
        "options": options,
    }
    async with receiving() as receiver:
        quick = {"sweep_seconds": 0.3, "head_gate_seconds": 1} | upload
        settings = hooked(directory / "server", receiver, upload=quick)
        settings["hooks"].append(gate)
        path = os.pathsep.join((str(REPOSITORY), str(directory / "plugins")))
        environment = {"PYTHONPATH": path}
        async with serving(directory / "server", settings, environment=environment) as server:
            yield Guarded(server, receiver, directory)


async def test_a_gate_that_accepts_lets_the_upload_finish(tmp_path: Path) -> None:
    """It was asked once, with all bytes on disk, before the client was answered."""
    async with guarded(tmp_path) as house:
        house.order("accept")
        url = await finished(house.server)
        assert house.asked() == [["finish", upload_id(url), str(len(DATA))]]
        await assert_finished(house.server, house.receiver, url, DATA)
        assert kinds(house.receiver, url) == ALL


async def test_a_gate_that_refuses_rejects_the_upload(tmp_path: Path) -> None:
    """Its status and sentence reach the client; then the upload is gone for everybody, and
    never told as completed, not even after a kill."""
    async with guarded(tmp_path) as house:
        house.order("refuse 415 No zip archives, please.")
        url = await created(house.server, len(DATA))
        refused = await tus.patch(url, 0, DATA)
        assert refused.status == 415
        assert json.loads(refused.body)["message"] == "No zip archives, please."
        assert (await tus.head(url)).status == 404
        told = await house.receiver.told(upload_id(url), "upload.rejected")
        assert told.data["refusal"] == "No zip archives, please."
        assert told.data["status"] == "rejected"
        house.order("accept")
        await house.server.restart(kill=True)
        assert (await tus.head(url)).status == 404
        assert (await tus.patch(url, len(DATA), b"")).status == 404
        marker = await finished(house.server, video_id="2")
        await assert_finished(house.server, house.receiver, marker, DATA)
        assert completion_ids(house.receiver, url) == set()
        assert kinds(house.receiver, url) == ["upload.created", "upload.rejected"]


async def test_a_gate_that_fails_has_not_refused(tmp_path: Path) -> None:
    """503, HEAD says try again, never offset = length; once the gate works it is asked again,
    without the client, and the upload is complete."""
    async with guarded(tmp_path) as house:
        house.order("fail")
        url = await created(house.server, len(DATA))
        failed = await tus.patch(url, 0, DATA)
        assert failed.status == 503
        found = await tus.head(url)
        assert found.status == 423 and "Upload-Offset" not in found.headers
        assert found.headers["Retry-After"]
        assert stored_bytes(house.server, url) == DATA
        house.order("accept")
        await assert_finished(house.server, house.receiver, url, DATA)
        found = await tus.head(url)
        assert (found.status, found.offset) == (200, len(DATA))
        assert kinds(house.receiver, url) == ALL


async def test_a_gate_that_hangs_has_failed_after_its_time(tmp_path: Path) -> None:
    """The client is answered 503 after ``gate_seconds``; a kill while it hangs loses nothing."""
    async with guarded(tmp_path, gate_seconds=1) as house:
        house.order("hang")
        url = await created(house.server, len(DATA))
        began = time.monotonic()
        assert (await tus.patch(url, 0, DATA)).status == 503
        assert 0.9 <= time.monotonic() - began < 10
        before = len(house.asked())
        assert (await tus.head(url)).status == 423
        await until(lambda: len(house.asked()) > before)
        await house.server.kill9()
        house.order("accept")
        await house.server.start()
        await assert_finished(house.server, house.receiver, url, DATA)
        assert kinds(house.receiver, url) == ALL


async def test_a_gate_is_asked_about_an_empty_file_too(tmp_path: Path) -> None:
    """Its path leads to a file of no bytes."""
    async with guarded(tmp_path) as house:
        house.order("accept")
        url = await created(house.server, 0)
        assert house.asked() == [["finish", upload_id(url), "0"]]
        await assert_finished(house.server, house.receiver, url, b"")


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
                place = server.data_directory / "files" / told.data["place"]
                assert _read(place) == data
                found = await tus.head(url)
                assert (found.status, found.offset) == (200, len(data))
                assert completion_ids(receiver, url) == {told.event_id}
                places.append((place, url))
            root = server.data_directory / "files" / "7" / "1001"
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
        *("--config", str(server.directory / "server.toml")),
        *("--data-dir", str(server.data_directory)),
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
