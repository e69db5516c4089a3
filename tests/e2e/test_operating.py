"""What an operator relies on: stops, restarts, logs, figures, secrets, lost state."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.rig import (
    KIB,
    MIB,
    assert_finished,
    content,
    created,
    hooked,
    stored_bytes,
    until,
    until_stored,
    upload_id,
)
from tests.support import tokens, tus
from tests.support.receiver import SECRET, receiving
from tests.support.server import REPOSITORY, Server, serving
from tests.support.wire import Hangup, Response, Wire, connected, request

# ------------------------------------------------------------------ stopping


async def test_a_stop_commits_running_bodies_and_answers_them_at_once(tmp_path: Path) -> None:
    """503 to each, all that arrived is kept, exit 0 soon; the same port serves again and the
    clients go on where they were."""
    data = content(2 * MIB)
    async with receiving() as receiver, serving(tmp_path, hooked(tmp_path, receiver)) as server:
        port = server.port
        urls = [await created(server, len(data), video_id=str(n)) for n in range(3)]
        wires = [await Wire.to(url) for url in urls]
        for wire, url, sent in zip(wires, urls, (MIB, 5, 0), strict=True):
            await tus.begin_patch(wire, url, 0, len(data))
            await wire.send(data[:sent])
            await until_stored(server, url, sent)
        await _until_running(server, 3)
        began = time.monotonic()
        server.terminate()
        answers = [await wire.read_response() for wire in wires]
        assert time.monotonic() - began < 5, "bodies were waited for"
        assert [answer.status for answer in answers] == [503, 503, 503]
        assert all(answer.closes and answer.headers["Retry-After"] for answer in answers)
        assert await server.ended(seconds=20) == 0
        for wire in wires:
            await wire.close()
        with pytest.raises(ConnectionRefusedError):
            await Wire.to(server.endpoint)
        await server.start()
        assert server.port == port
        for url, sent in zip(urls, (MIB, 5, 0), strict=True):
            found = await tus.head(url)
            assert (found.status, found.offset) == (200, sent)
            done = await tus.patch(url, sent, data[sent:])
            assert (done.status, done.offset) == (204, len(data))
            await assert_finished(server, receiver, url, data)


WAITS = """
import asyncio
from pathlib import Path

from tusd_py.hooks.base import Allow

async def decide(question, *, asked, release):
    Path(asked).touch()
    while not Path(release).exists():
        await asyncio.sleep(0.01)
    return Allow()
"""


async def test_kept_connections_hear_try_again_while_the_server_stops(tmp_path: Path) -> None:
    """Requests that were under way, or behind others, while a gate is still being asked: HEAD
    is 423, never anything that makes a client start anew; POST is 503; the asking one ends well."""
    (tmp_path / "gates.py").write_text(WAITS)
    asked, release = tmp_path / "asked", tmp_path / "release"
    gate = {
        "name": "slow",
        "kind": "python",
        "target": "gates:decide",
        "gates": ["finish"],
        "import_from": str(tmp_path),
        "options": {"asked": str(asked), "release": str(release)},
    }
    async with serving(tmp_path, {"hooks": [gate]}) as server:
        url, other = await created(server, 5), await created(server, 5)
        async with connected(url) as wire:
            await tus.begin_patch(wire, url, 0, 5)
            await wire.send(b"12345")
            await until(lambda: asked.exists())
            await wire.send_head("HEAD", other, tus.TUS)
            await wire.send_head("POST", server.endpoint, tus.TUS | {"Upload-Length": "5"})
            server.terminate()
            await server.logged("stopping")
            # What is new is not accepted any more.
            await until(lambda: not _listens(server))
            release.touch()
            assert (await wire.read_response()).status == 204
            found = await wire.read_response()
            assert found.status == 423 and found.headers["Retry-After"]
            assert found.headers["Access-Control-Allow-Origin"] == "*"
            assert (await wire.read_response()).status == 503
            assert await wire.is_closed()
        assert await server.ended(seconds=20) == 0


async def test_a_stop_tells_what_is_to_be_told(tmp_path: Path) -> None:
    """Deliveries that run may end; nothing is told twice because of a stop."""
    async with receiving() as receiver, serving(tmp_path, hooked(tmp_path, receiver)) as server:
        url = await created(server, 5)
        assert (await tus.patch(url, 0, b"12345")).status == 204
        await assert_finished(server, receiver, url, b"12345")
        await server.restart()
        again = await created(server, 5)
        assert (await tus.patch(again, 0, b"54321")).status == 204
        await assert_finished(server, receiver, again, b"54321")
        ids = [one.event_id for one in receiver.taken]
        assert len(ids) == len(set(ids)) == 4


# ------------------------------------------------------------------ several workers


TWO = {"process": {"workers": 2}}


async def test_a_killed_worker_is_succeeded_by_the_other(tmp_path: Path) -> None:
    """The one that writes a body dies by SIGKILL: the client goes on with the other at once,
    and nobody else notices."""
    data = content(2 * MIB)
    async with receiving() as receiver:
        settings = hooked(tmp_path, receiver, upload={"lease_seconds": 60}) | TWO
        async with serving(tmp_path, settings) as server:
            url = await created(server, len(data))
            async with connected(url) as wire:
                await tus.begin_patch(wire, url, 0, len(data))
                await wire.send(data[:MIB])
                await until_stored(server, url, MIB)
                os.kill(_writer_of(server, url), signal.SIGKILL)
                with pytest.raises((Hangup, ConnectionError)):
                    await wire.read_response()
            found = await tus.head(url)
            assert (found.status, found.offset) == (200, MIB)
            done = await tus.patch(url, MIB, data[MIB:])
            assert (done.status, done.offset) == (204, len(data))
            await assert_finished(server, receiver, url, data)
            assert await server.logged("worker_died")


async def test_a_rolling_restart_under_load_refuses_nobody(tmp_path: Path) -> None:
    """SIGHUP: each worker is renewed while uploads come in; every creation is answered, every
    upload ends well, what a running body had sent is kept."""
    data = content(256 * KIB)
    async with receiving() as receiver:
        settings = hooked(tmp_path, receiver) | TWO
        async with serving(tmp_path, settings) as server:
            long_url = await created(server, len(data))
            wire = await Wire.to(long_url)
            await tus.begin_patch(wire, long_url, 0, len(data))
            await wire.send(data[: 128 * KIB])
            await until_stored(server, long_url, 128 * KIB)
            before = set(_workers(server))
            urls: list[str] = []
            os.kill(server.pid, signal.SIGHUP)
            async with asyncio.timeout(40):
                while before & set(_workers(server)):
                    urls.append(await created(server, len(data), video_id=str(len(urls))))
                    assert await _patch_until_done(urls[-1], data)
            assert (await wire.read_response()).status == 503
            await wire.close()
            found = await tus.head(long_url)
            assert (found.status, found.offset) == (200, 128 * KIB)
            assert await _patch_until_done(long_url, data)
            for url in (*urls, long_url):
                await assert_finished(server, receiver, url, data)
            assert len(urls) > 3
            assert await server.stop() == 0


async def _patch_until_done(url: str, data: bytes) -> bool:
    """As a client: a 423 or 503 means to ask and to go on, a refused connection is an error."""
    while True:
        found = await tus.head(url)
        if found.status == 423:
            continue
        assert found.status == 200, (found.status, found.text)
        if found.offset == len(data):
            return True
        answer = await tus.patch(url, found.offset, data[found.offset :])
        assert answer.status in (204, 423, 503), (answer.status, answer.text)


# ------------------------------------------------------------------ logs and secrets


async def test_logs_are_json_and_name_the_request(tmp_path: Path) -> None:
    """The id that the client sent, or the one it was given, is in the line of its request."""
    async with serving(tmp_path) as server:
        given = await tus.head(f"{server.endpoint}{'0' * 32}", headers={"X-Request-ID": "mine-1"})
        assert (given.status, given.headers["X-Request-ID"]) == (404, "mine-1")
        made = await tus.create(server.endpoint, length=5)
        assert made.status == 401
        assert json.loads(made.body)["request_id"] == made.headers["X-Request-ID"]
        for answer, method in ((given, "HEAD"), (made, "POST")):
            record = await server.logged(_of_request(answer))
            assert (record["method"], record["status"]) == (method, answer.status)
            assert record["level"] == "info"
        await server.stop()
        assert len(server.logs) == len(server.errors) > 0, server.tail()
        assert all({"event", "level", "timestamp"} <= record.keys() for record in server.logs)


def _of_request(answer: Response) -> Any:
    request_id = answer.headers["X-Request-ID"]
    return lambda one: (one["event"], one.get("request_id")) == ("request", request_id)


async def test_no_secret_is_written_or_told_anywhere(tmp_path: Path) -> None:
    """Tokens in metadata and headers, good and bad ones, at the most talkative level: neither
    they nor the keys are in a log, an event, an answer, a metric or a file of the server's."""
    async with receiving() as receiver:
        settings = hooked(tmp_path, receiver, log={"level": "debug"})
        async with serving(tmp_path, settings) as server:
            good = server.mint(video_id="1001", client_id="7")
            forged = tokens.mint("another key of more than thirty-two bytes, quite wrong")
            spent = server.mint(seconds=-60)
            said = []
            metadata = tus.video_metadata(good, "1001", "7")
            for bearer in (None, good, forged, spent):
                for given in (metadata, metadata | {"token": forged}, metadata | {"token": spent}):
                    said.append(
                        await tus.create(server.endpoint, length=5, metadata=given, bearer=bearer)
                    )
            uploads = [answer.location for answer in said if answer.status == 201]
            assert 0 < len(uploads) < len(said)
            for url in uploads:
                with_token = {"Authorization": f"Bearer {good}"}
                said.append(await tus.patch(url, 0, b"12345", headers=with_token))
                said.append(await tus.head(url))
                said.append(await tus.head(url, headers={"Authorization": f"Bearer {forged}"}))
                await receiver.told(upload_id(url), "upload.completed")
            said.append(await request("GET", f"{server.base}/metrics"))
            await server.stop()
            secrets = [one.encode() for one in (good, forged, spent)]
            secrets += [one.rpartition(b".")[2] for one in secrets]
            secrets += [tokens.KEY.encode(), SECRET.encode(), SECRET[6:].encode()]
            places = {
                "logs": "\n".join(server.errors + server.output).encode(),
                "events": b"".join(one.body for one in receiver.deliveries),
                "event headers": str([dict(one.headers) for one in receiver.deliveries]).encode(),
                "answers": b"".join(str(one.headers).encode() + one.body for one in said),
            }
            places |= dict(_files_below(server.data_directory))
            found = [(name, one) for one in secrets for name, text in places.items() if one in text]
            assert found == []
            assert len(places) > 10, "there was nothing to look into"


def _files_below(directory: Path) -> Iterator[tuple[str, bytes]]:
    for path in directory.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()


# ------------------------------------------------------------------ figures


async def test_figures_parse_and_their_labels_are_bounded(tmp_path: Path) -> None:
    """Whatever ids, paths and methods come, there are no more series than before."""
    async with serving(tmp_path) as server:
        await _all_kinds_of_requests(server, "0")
        await _series(server)  # this request is counted too
        before = await _series(server)
        for number in range(5):
            await _all_kinds_of_requests(server, str(number))
        assert await _series(server) == before
        names = {name for name, _ in before}
        assert {"tusd_py_requests_total", "tusd_py_uploads", "tusd_py_received_bytes_total"} < names


async def _all_kinds_of_requests(server: Server, number: str) -> None:
    url = await created(server, 5, video_id=number)
    for answer in (
        await tus.patch(url, 0, b"12345"),
        await tus.patch(url, 3, b"12345"),
        await tus.head(url),
        await tus.delete(url),
        await tus.create(server.endpoint, length=5, metadata={"x": number}),
        await request("GET", f"{server.base}/nowhere/{number}"),
        await request(f"BREW{number}", f"{server.base}/upload/"),
    ):
        assert answer.status < 600


async def _series(server: Server) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    page = await request("GET", f"{server.base}/metrics")
    assert page.status == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }


# ------------------------------------------------------------------ keys and lost state


def test_an_open_door_without_a_key_of_ones_own_is_refused(tmp_path: Path) -> None:
    """Bound to all addresses the development key would let anybody in: exit 3, and how to go on."""
    done = subprocess.run(
        [sys.executable, "-m", "tusd_py", "serve", "--http.host", "0.0.0.0", "--http.port", "0"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 3
    assert "0.0.0.0" in done.stderr and "key_file" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("rebuilt", [True, False], ids=["rebuilt", "adopted"])
async def test_uploads_resume_after_the_state_is_lost(tmp_path: Path, rebuilt: bool) -> None:
    """The state file is deleted; with ``state rebuild`` or without, unfinished uploads go on
    from their last byte, and finished ones are told under the id they had."""
    data = content(2 * MIB)
    async with receiving() as receiver:
        quick = {"lease_seconds": 1, "checkpoint_seconds": 0.2}
        async with serving(tmp_path, hooked(tmp_path, receiver, upload=quick)) as server:
            done_url = await created(server, 5, video_id="done")
            assert (await tus.patch(done_url, 0, b"12345")).status == 204
            await assert_finished(server, receiver, done_url, b"12345")
            url = await created(server, len(data))
            assert (await tus.patch(url, 0, data[:MIB])).offset == MIB
            await server.kill9()
            for file in list(server.data_directory.glob("state.db*")):
                if file.is_file():
                    file.unlink()
            if rebuilt:
                words = ("state", "rebuild", "--config", str(tmp_path / "server.toml"))
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "tusd_py", *words),
                    *("--data-dir", str(server.data_directory)),
                    cwd=tmp_path,
                    env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
                )
                assert await process.wait() == 0
            await server.start()
            found = await _head_until_200(url)
            assert found.offset == MIB
            done = await tus.patch(url, MIB, data[MIB:])
            assert (done.status, done.offset) == (204, len(data)), done.text
            await assert_finished(server, receiver, url, data)
            assert (await _head_until_200(done_url)).offset == 5
            assert stored_bytes(server, done_url) == b"12345"
            await assert_finished(server, receiver, done_url, b"12345")


async def _head_until_200(url: str) -> Response:
    async with asyncio.timeout(20):
        while (found := await tus.head(url)).status == 423:
            pass
    assert found.status == 200, (found.status, found.text)
    return found


# ------------------------------------------------------------------ looking


async def _until_running(server: Server, count: int) -> None:
    """As many bodies are being written."""
    page = ""
    async with asyncio.timeout(20):
        while f"tusd_py_appends_running {count}.0" not in page:
            page = (await request("GET", f"{server.base}/metrics")).text


def _listens(server: Server) -> bool:
    """Whether the server still has its listening socket."""
    connections = psutil.Process(server.pid).net_connections("tcp")
    return any(one.status == psutil.CONN_LISTEN for one in connections)


def _workers(server: Server) -> list[int]:
    children = psutil.Process(server.pid).children()
    return [one.pid for one in children if one.status() != psutil.STATUS_ZOMBIE]


def _writer_of(server: Server, url: str) -> int:
    """The worker that has the upload's file open."""
    name = upload_id(url)
    for pid in _workers(server):
        if any(name in one.path for one in psutil.Process(pid).open_files()):
            return pid
    raise AssertionError("nobody writes it")
