"""How one-shot uploads end that do not end well: gates, stops, kills, full disks."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.installations import serving
from tests.e2e.oneshot import bearer, finish_by_tus, sizes
from tests.e2e.rig import MIB, assert_finished, content, hooked, until
from tests.e2e.stage import Stage, staged
from tests.support import tus
from tests.support.faults import small_disk
from tests.support.forms import field, file, form, form_type
from tests.support.receiver import receiving
from tests.support.server import REPOSITORY, Server
from tests.support.wire import Response, Wire, connected

DATA = content(3 * MIB)
IDS = {"video_id": "1001", "client_id": "7"}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as stage:
        yield stage


GATE = """
from tusd_py.hooks.base import Allow, Gate, Refuse

class Gatekeeper(Gate):
    async def decide(self, question):
        name = question.upload["metadata"].get("filename", "")
        if name.startswith(question.moment):
            return Refuse(f"Not at {question.moment}.", status=403)
        return Allow()
"""


@asynccontextmanager
async def guarded(directory: Path) -> AsyncIterator[Stage]:
    """A server with gates at creation and finish that refuse files named after them."""
    package = directory / "plugins" / "house_rules"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(GATE)
    gate = {
        "name": "doorman",
        "kind": "python",
        "target": "house_rules:Gatekeeper",
        "gates": ["create", "finish"],
    }
    async with receiving() as receiver:
        settings = hooked(directory / "server", receiver)
        settings["hooks"].append(gate)
        path = os.pathsep.join((str(REPOSITORY), str(directory / "plugins")))
        environment = {"PYTHONPATH": path}
        async with serving(directory / "server", settings, environment=environment) as server:
            yield Stage(server, receiver)


async def post(server: Server, body: bytes) -> Response:
    async with connected(server.endpoint) as wire:
        return await wire.request("POST", "/upload/", form_type() | bearer(server), body)


@pytest.mark.parametrize("moment", ["create", "finish"])
async def test_gates_judge_files_of_forms_and_bodies(tmp_path: Path, moment: str) -> None:
    """Their status and sentence go to the client; what was complete before stays, and what they
    refuse is told to nobody as complete."""
    async with guarded(tmp_path) as stage:
        server = stage.server
        body = form(file(DATA, "a.mp4"), file(DATA, f"{moment}.mp4"), file(DATA, "c.mp4"))
        answer = await post(server, body)
        said = json.loads(answer.body)
        assert (answer.status, said["code"]) == (403, "ERR_REFUSED_BY_GATE")
        assert said["message"] == f"Not at {moment}."
        (kept,) = said["uploads"]
        await assert_finished(server, stage.receiver, kept["location"], DATA)
        async with connected(server.endpoint) as wire:
            path = f"/upload/{moment}.mp4"
            refused = await wire.request("PUT", path, bearer(server), DATA)
        said = json.loads(refused.body)
        assert (refused.status, said["message"]) == (403, f"Not at {moment}.")
        assert "uploads" not in said and "Location" not in refused.headers
        # A refused finish is told as such; nothing but the one file was ever complete.
        completed = [one for one in stage.receiver.taken if one.kind == "upload.completed"]
        assert [one.upload_id for one in completed] == [kept["id"]]


async def begin_put(server: Server, wire: Wire, data: bytes, sent: int) -> None:
    headers = bearer(server) | {"Content-Length": str(len(data))}
    await wire.send_head("PUT", "/upload/film.mp4", headers)
    await wire.send(data[:sent])


async def test_a_stop_tells_where_to_go_on(stage: Stage) -> None:
    """A body and a form are running: 503 with address and offset; after the restart tus goes on."""
    server = stage.server
    body = form(*[field(k, v) for k, v in IDS.items()], file(DATA))
    start = body.index(DATA)
    async with connected(server.endpoint) as raw, connected(server.endpoint) as multi:
        await begin_put(server, raw, DATA, MIB)
        await multi.send_head(
            "POST",
            "/upload/",
            form_type() | bearer(server) | {"Content-Length": str(len(body))},
        )
        await multi.send(body[: start + 2 * MIB])
        await until(lambda: sizes(server) == [MIB, 2 * MIB])
        server.terminate()
        answers = [await raw.read_response(), await multi.read_response()]
    assert await server.ended() == 0
    await server.start()
    for answer, sent in zip(answers, (MIB, 2 * MIB), strict=True):
        said = json.loads(answer.body)
        assert (answer.status, said["code"]) == (503, "ERR_SERVER_STOPPING")
        assert answer.offset == said["uploads"][0]["offset"] == sent
        assert answer.headers["Retry-After"]
        await finish_by_tus(stage, answer.location, DATA, sent)


@pytest.mark.parametrize("shape", ["form", "raw"])
async def test_what_came_before_a_kill_is_gone_on_with(stage: Stage, shape: str) -> None:
    """SIGKILL in mid-body: every byte that lay in the file counts."""
    server = stage.server
    body = form(file(DATA)) if shape == "form" else DATA
    headers = form_type() if shape == "form" else {"Content-Type": "video/mp4"}
    async with connected(server.endpoint) as wire:
        headers = headers | bearer(server) | {"Content-Length": str(len(body))}
        await wire.send_head("POST", "/upload/", headers)
        await wire.send(body[: body.index(DATA) + MIB])
        await until(lambda: sizes(server) == [MIB])
        await server.kill9()
    (path,) = (server.store_root).glob("*/*.bin")
    await server.start()
    await finish_by_tus(stage, server.endpoint + path.stem, DATA, MIB)


async def test_a_full_disk_tells_where_to_go_on(tmp_path: Path) -> None:
    """507 with address and offset, which HEAD confirms; the next one is refused at its head."""
    with small_disk(tmp_path / "disk", mib=64) as disk:
        directory = disk.path / "server"
        async with receiving() as receiver:
            settings = hooked(directory, receiver, store={"min_free_bytes": 16 * MIB})
            async with serving(directory, settings) as server:
                data = content(60 * MIB)
                async with connected(server.endpoint) as wire:
                    headers = bearer(server)
                    answer = await wire.request("PUT", "/upload/film.mp4", headers, data)
                said = json.loads(answer.body)
                assert (answer.status, said["code"]) == (507, "ERR_STORAGE_FULL")
                kept = answer.offset
                assert 0 < kept < len(data) and said["uploads"][0]["offset"] == kept
                assert (await tus.head(answer.location)).offset == kept
                async with connected(server.endpoint) as wire:
                    again = await wire.request("PUT", "/upload/b", headers, b"1")
                assert again.status == 507 and "Location" not in again.headers
