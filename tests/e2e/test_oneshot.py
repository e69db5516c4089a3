"""Real clients without tus against the real process: curl, requests, aiohttp, and big files."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import requests

from tests.e2e.oneshot import bearer, finish_by_tus
from tests.e2e.rig import KIB, MIB, assert_finished, completion_ids, content
from tests.e2e.stage import Stage, staged
from tests.support import tus
from tests.support.forms import file, form, form_type
from tests.support.receiver import Receiver
from tests.support.relay import Fault, relay_to
from tests.support.server import Server
from tests.support.wire import connected

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("oneshot")]

DATA = content(3 * MIB)
IDS = {"video_id": "1001", "client_id": "7"}
MEMORY_BYTES = 16 * MIB


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One for all."""
    async with staged(tmp_path_factory.mktemp("oneshot")) as stage:
        yield stage


def film(tmp_path: Path, data: bytes = DATA) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(data)
    return path


async def curl(*arguments: str, stdin: bytes | None = None) -> tuple[int, dict[str, Any]]:
    """What curl was answered: status and JSON."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--write-out", "\n%{http_code}", *arguments),
        stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin)
    assert process.returncode == 0, err.decode()
    text, _, status = out.decode().rpartition("\n")
    return int(status), json.loads(text)


def metadata_in(receiver: Receiver, upload: str) -> dict[str, str]:
    (told,) = receiver.of(upload, "upload.completed")
    found: dict[str, str] = told.data["metadata"]
    return found


# ------------------------------------------------------------------ real clients


@pytest.mark.parametrize("from_stdin", [False, True])
async def test_curl_puts_a_file(stage: Stage, tmp_path: Path, from_stdin: bool) -> None:
    """``curl -T`` appends the file's name to a URL that ends with a slash; from a pipe it sends
    chunks. Both are told as any upload is."""
    server = stage.server
    authorization = f"Authorization: Bearer {server.mint()}"
    if from_stdin:
        status, said = await curl(
            "-T", "-", "-H", authorization, server.endpoint + "film.mp4", stdin=DATA
        )
    else:
        status, said = await curl("-T", str(film(tmp_path)), "-H", authorization, server.endpoint)
    assert (status, said["is_complete"], said["length"]) == (201, True, len(DATA))
    await assert_finished(server, stage.receiver, said["location"], DATA)
    assert metadata_in(stage.receiver, said["id"])["filename"] == "film.mp4"


async def test_curl_posts_a_file(stage: Stage, tmp_path: Path) -> None:
    """``--data-binary`` calls every file a form of the other kind; that says nothing of it."""
    server = stage.server
    authorization = f"Authorization: Bearer {server.mint()}"
    path = film(tmp_path)
    status, said = await curl("--data-binary", f"@{path}", "-H", authorization, server.endpoint)
    assert status == 201
    await assert_finished(server, stage.receiver, said["location"], DATA)
    assert "filetype" not in metadata_in(stage.receiver, said["id"])


async def test_curl_sends_a_form(stage: Stage, tmp_path: Path) -> None:
    """``curl -F``: the token in a field, and two files."""
    server, path = stage.server, film(tmp_path)
    fields = [f"{name}={value}" for name, value in (IDS | {"token": server.mint()}).items()]
    files = [f"a=@{path};type=video/mp4", f'b=@{path};filename="odd; \\"name\\".mp4"']
    arguments = [part for one in (*fields, *files) for part in ("-F", one)]
    status, said = await curl(*arguments, server.endpoint)
    assert status == 201
    first, second = said["uploads"]
    for one in (first, second):
        await assert_finished(server, stage.receiver, one["location"], DATA)
    assert metadata_in(stage.receiver, first["id"]) == IDS | {
        "filename": "film.mp4",
        "filetype": "video/mp4",
    }
    name = metadata_in(stage.receiver, second["id"])["filename"]
    assert name in ('odd; "name".mp4', "odd; %22name%22.mp4")


async def test_curl_does_not_put_part_of_a_file(stage: Stage, tmp_path: Path) -> None:
    """``curl -C``: 400, and no upload."""
    authorization = f"Authorization: Bearer {stage.server.mint()}"
    status, said = await curl(
        *("-C", "100", "-T", str(film(tmp_path)), "-H", authorization, stage.server.endpoint)
    )
    assert (status, said["code"]) == (400, "ERR_INVALID_HEADER")


async def test_requests_sends_a_form(stage: Stage) -> None:
    """The library most Python scripts have; a name outside ASCII."""
    server = stage.server

    def send() -> requests.Response:
        return requests.post(
            server.endpoint,
            data=IDS | {"token": server.mint()},
            files={"file": ("bär.mp4", io.BytesIO(DATA), "video/mp4")},
            timeout=30,
        )

    answer = await asyncio.to_thread(send)
    assert answer.status_code == 201
    (one,) = answer.json()["uploads"]
    assert answer.headers["Location"] == one["location"]
    await assert_finished(server, stage.receiver, one["location"], DATA)
    assert metadata_in(stage.receiver, one["id"])["filename"] == "bär.mp4"


async def test_aiohttp_sends_a_form_of_unknown_length(stage: Stage) -> None:
    """Files from generators make the form chunked; fields between files are those of the next."""
    server = stage.server

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(DATA), 100_000):
            yield DATA[at : at + 100_000]

    body = aiohttp.FormData(default_to_multipart=True)
    for number in ("1", "2", "3"):
        body.add_field("take", number)
        body.add_field("file", pieces(), filename=f"{number}.mp4", content_type="video/mp4")
    async with aiohttp.ClientSession() as session:
        async with session.post(server.endpoint, data=body, headers=bearer(server)) as answer:
            assert answer.status == 201
            uploads = (await answer.json())["uploads"]
        async with session.put(server.endpoint, data=pieces(), headers=bearer(server)) as answer:
            assert answer.status == 201
            uploads.append(await answer.json())
    assert len(uploads) == 4
    for take, one in enumerate(uploads[:3], 1):
        await assert_finished(server, stage.receiver, one["location"], DATA)
        assert metadata_in(stage.receiver, one["id"])["take"] == str(take)
    await assert_finished(server, stage.receiver, uploads[3]["location"], DATA)


async def test_curl_on_a_bad_line_is_helped_by_tus(stage: Stage, tmp_path: Path) -> None:
    """Its PUT is cut; the file goes on from where it stood, and is told once."""
    server = stage.server
    before = set(server.store_root.glob("*/*.bin"))
    async with relay_to(server.base, Fault(cut_after=2 * MIB)) as relay:
        with pytest.raises(AssertionError, match="curl:"):
            await curl(
                *("-T", str(film(tmp_path)), "-H", f"Authorization: Bearer {server.mint()}"),
                relay.url(server.endpoint),
            )
    (path,) = set(server.store_root.glob("*/*.bin")) - before
    url = server.endpoint + path.stem
    found = await tus.head(url)
    assert 0 < found.offset < len(DATA)
    await finish_by_tus(stage, url, DATA, found.offset)
    assert len(completion_ids(stage.receiver, url)) == 1


# ------------------------------------------------------------------ memory


def peak_bytes(server: Server) -> int:
    """The most memory the process ever had."""
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * KIB


@pytest.mark.parametrize("shape", ["form", "raw"])
async def test_a_big_file_needs_no_memory(stage: Stage, shape: str) -> None:
    """192 MiB, in a file of which most bytes look like the beginning of a boundary: the process
    grows by buffers only."""
    server, size = stage.server, 192 * MIB
    piece = (b"\r\n-" * MIB)[: 2 * MIB]

    async def send(pieces: int) -> None:
        start, _, end = form(file(b"@@")).partition(b"@@")
        around = (start, end) if shape == "form" else (b"", b"")
        length = len(around[0]) + len(piece) * pieces + len(around[1])
        headers = form_type() if shape == "form" else {"Content-Type": "video/mp4"}
        headers = headers | bearer(server) | {"Content-Length": str(length)}
        async with connected(server.endpoint) as wire:
            await wire.send_head("POST", "/upload/", headers)
            await wire.send(around[0])
            for _ in range(pieces):
                await wire.send(piece)
            await wire.send(around[1])
            answer = await wire.read_response()
        assert answer.status == 201, answer.text
        said = json.loads(answer.body)
        (said,) = said.get("uploads", [said])
        assert said["length"] == len(piece) * pieces

    await send(8)  # threads, buffers and modules of a first upload
    before = peak_bytes(server)
    await send(size // len(piece))
    assert peak_bytes(server) - before < MEMORY_BYTES
