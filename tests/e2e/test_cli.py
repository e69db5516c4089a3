"""What a newcomer sees, and what an operator does, with the real process."""

import asyncio
import json
import os
import sys
from pathlib import Path

from tests.e2e.installations import lose_state, serving
from tests.support import tus
from tests.support.server import Server
from tests.support.wire import request

FREE_PORT = ("--http.port", "0")


async def run(directory: Path, *words: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=directory,
        env={k: v for k, v in os.environ.items() if not k.startswith("TUSD_PY_")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def command(server: Server, *words: str) -> tuple[int, str, str]:
    command = (sys.executable, "-m", "tusd_py", *words, *server.own_flags)
    return await run(server.directory, *command)


async def printed(server: Server, last: str) -> str:
    """What stands on standard output, once ``last`` does."""
    async with asyncio.timeout(10):
        while last not in (text := "\n".join(server.output)):
            await request("GET", f"{server.base}/health/live")
    return text


async def test_the_printed_commands_upload_a_file(tmp_path: Path) -> None:
    """The banner can be pasted into a shell as it is: token, creation, bytes."""
    async with serving(tmp_path, flags=("--log.format", "console")) as server:
        text = await printed(server, "offset+octet-stream")
        assert server.endpoint in text
        script = text.partition("A first upload:")[2]
        code, out, err = await run(tmp_path, "bash", "-ec", script)
        assert (code, err) == (0, "")
        assert out.startswith("HTTP/1.1 204")
        _, listed, _ = await command(server, "uploads", "list", "--json")
        (upload,) = json.loads(listed)["uploads"]
        assert (upload["status"], upload["metadata"]["filename"]) == ("complete", "hello.txt")


async def test_logs_for_machines_come_without_a_banner(tmp_path: Path) -> None:
    """Every line is JSON, and standard output is silent."""
    async with serving(tmp_path) as server:
        await server.stop()
        assert server.output == []
        assert len(server.logs) == len(server.errors) > 0


async def test_an_operator_looks_at_an_upload_and_removes_it(tmp_path: Path) -> None:
    """Beside the running server: listed, shown, deleted; then it is unknown to the client too."""
    async with serving(tmp_path) as server:
        token = server.mint(video_id="v1", client_id="c1")
        url = await tus.upload(server.endpoint, b"12345", metadata={}, bearer=token)
        upload_id = url.rpartition("/")[2]
        assert upload_id in (await command(server, "uploads", "list", "--video-id", "v1"))[1]
        assert upload_id not in (await command(server, "uploads", "list", "--video-id", "v2"))[1]
        assert "status: complete" in (await command(server, "uploads", "show", url))[1]
        code, out, _ = await command(server, "uploads", "delete", upload_id, "--json")
        assert (code, json.loads(out)) == (0, {"deleted": upload_id})
        assert (await tus.head(url)).status == 404
        assert (await command(server, "uploads", "delete", upload_id))[0] == 4


async def test_records_are_made_anew_from_the_store(tmp_path: Path) -> None:
    """The state is gone, the uploads are not."""
    settings = {"upload": {"lease_seconds": 1, "checkpoint_seconds": 0.2}}
    async with serving(tmp_path, settings) as server:
        token = server.mint(video_id="v1", client_id="c1")
        url = await tus.upload(server.endpoint, b"12345", metadata={}, bearer=token)
        await server.stop()
        await lose_state(server)
        code, out, err = await command(server, "state", "rebuild", "--json")
        assert code == 0, err
        assert json.loads(out) == {"uploads": 1, "adopted": 1, "failed": []}
        await server.start()
        found = await tus.head(url)
        assert (found.status, found.offset) == (200, 5)


async def test_the_development_key_is_told_at_each_start(tmp_path: Path) -> None:
    """A server must not go live with it unnoticed."""
    words = (sys.executable, "-m", "tusd_py", "serve", *FREE_PORT, "--log.format", "json")
    for is_new in (True, False):
        read_end, write_end = os.pipe()
        process = await asyncio.create_subprocess_exec(
            *words,
            *("--ready-fd", str(write_end)),
            cwd=tmp_path,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=(write_end,),
        )
        os.close(write_end)
        line = await asyncio.to_thread(os.read, read_end, 4096)
        os.close(read_end)
        assert json.loads(line)["pid"] == process.pid
        process.terminate()
        _, err = await process.communicate()
        assert process.returncode == 0
        records = [json.loads(one) for one in err.splitlines()]
        (told,) = [one for one in records if one["event"] == "development_key_in_use"]
        assert (told["level"], told["is_new"]) == ("warning", is_new)
