"""Gates decide what finishes: they accept, refuse, fail and hang."""

import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.installations import serving
from tests.e2e.rig import (
    KIB,
    assert_finished,
    completion_ids,
    content,
    created,
    finished,
    hooked,
    kinds,
    stored_bytes,
    until,
    upload_id,
)
from tests.support import tus
from tests.support.proxies import Kind
from tests.support.receiver import (
    Receiver,
    receiving,
)
from tests.support.rufh import Rufh
from tests.support.server import REPOSITORY, Server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("gates")]

DATA = content(64 * KIB)
ALL = ["upload.created", "upload.completed"]


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

    def asked(self, url: str) -> list[tuple[str, int]]:
        """Moment and size of the file, as the gate saw them."""
        file = self.directory / "asked"
        lines = file.read_text().splitlines() if file.exists() else []
        asked = [line.split() for line in lines]
        return [(moment, int(size)) for moment, upload, size in asked if upload == upload_id(url)]


@asynccontextmanager
async def guarded(directory: Path, proxy: Kind = "nginx", **upload: Any) -> AsyncIterator[Guarded]:
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
        own: dict[str, Any] = {"environment": {"PYTHONPATH": path}, "proxy": proxy}
        async with serving(directory / "server", settings, **own) as server:
            yield Guarded(server, receiver, directory)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    """One for all that need no more."""
    async with guarded(tmp_path_factory.mktemp("gates")) as house:
        yield house


async def test_a_gate_that_accepts_lets_the_upload_finish(house: Guarded) -> None:
    """It was asked once, with all bytes on disk, before the client was answered."""
    house.order("accept")
    url = await finished(house.server, DATA)
    assert house.asked(url) == [("finish", len(DATA))]
    await assert_finished(house.server, house.receiver, url, DATA)
    assert kinds(house.receiver, url) == ALL


async def test_a_gate_that_refuses_rejects_the_upload(house: Guarded) -> None:
    """Its status and sentence reach the client; then the upload is gone for everybody, and
    never told as completed, not even after a kill."""
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
    marker = await finished(house.server, DATA, video_id="2")
    await assert_finished(house.server, house.receiver, marker, DATA)
    assert completion_ids(house.receiver, url) == set()
    assert kinds(house.receiver, url) == ["upload.created", "upload.rejected"]


async def test_a_gate_that_fails_has_not_refused(house: Guarded) -> None:
    """503, HEAD says try again, never offset = length; once the gate works it is asked again,
    without the client, and the upload is complete."""
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
        before = len(house.asked(url))
        assert (await tus.head(url)).status == 423
        await until(lambda: len(house.asked(url)) > before)
        await house.server.kill9()
        house.order("accept")
        await house.server.start()
        await assert_finished(house.server, house.receiver, url, DATA)
        assert kinds(house.receiver, url) == ALL


async def test_a_gate_is_asked_about_an_empty_file_too(house: Guarded) -> None:
    """Its path leads to a file of no bytes."""
    house.order("accept")
    url = await created(house.server, 0)
    assert house.asked(url) == [("finish", 0)]
    await assert_finished(house.server, house.receiver, url, b"")


async def test_a_gate_speaks_for_the_resource_in_the_other_protocol(tmp_path: Path) -> None:
    """Its refusal is the answer to the whole file, which going on cannot change: Upload-Complete
    is true. Where it fails the upload can be gone on with: by an empty append that says the end."""
    rufh = Rufh(8)
    async with guarded(tmp_path, "caddy") as house:
        house.order("refuse 422 no films of cats")
        bearer = house.server.mint()
        refused = await rufh.create(house.server.endpoint, DATA, is_end=True, bearer=bearer)
        assert (refused.status, rufh.is_complete(refused)) == (422, True)
        assert json.loads(refused.body)["detail"] == "no films of cats"
        assert (await rufh.head(refused.interim[0].location)).status == 404
        house.order("fail")
        failed = await rufh.create(house.server.endpoint, DATA, is_end=True, bearer=bearer)
        assert (failed.status, failed.offset, rufh.is_complete(failed)) == (503, len(DATA), False)
        house.order("accept")
        url = failed.interim[0].location
        head = await rufh.head(url)
        assert head.status in (204, 423)
        done = await rufh.append(url, len(DATA), b"", is_end=True)
        assert (done.status, rufh.is_complete(done)) == (201, True)
        await assert_finished(house.server, house.receiver, url, DATA)
