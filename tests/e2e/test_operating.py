"""What an operator relies on: logs, figures, secrets kept, keys asked for, lost state made anew."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.installations import lose_state, servers_of, serving, state_contents
from tests.e2e.rig import (
    MIB,
    assert_finished,
    content,
    created,
    head_until_200,
    hooked,
    stored_bytes,
    upload_id,
)
from tests.support import tokens, tus
from tests.support.receiver import SECRET, receiving
from tests.support.server import REPOSITORY, Server
from tests.support.wire import Response, request

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
            for directory in {one.data_directory for one in (server, *servers_of(server))}:
                places |= dict(_files_below(directory))
            places |= await state_contents(server)
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
    """The state is deleted; with ``state rebuild`` or without, unfinished uploads go on
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
            await lose_state(server)
            if rebuilt:
                words = ("state", "rebuild", *server.own_flags)
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "tusd_py", *words),
                    cwd=tmp_path,
                    env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
                )
                assert await process.wait() == 0
            await server.start()
            found = await head_until_200(url)
            assert found.offset == MIB
            done = await tus.patch(url, MIB, data[MIB:])
            assert (done.status, done.offset) == (204, len(data)), done.text
            await assert_finished(server, receiver, url, data)
            assert (await head_until_200(done_url)).offset == 5
            assert stored_bytes(server, done_url) == b"12345"
            await assert_finished(server, receiver, done_url, b"12345")
