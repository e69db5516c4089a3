"""The rig around the server process, with a program that only pretends to be one."""

import asyncio
import sys
import tomllib
from pathlib import Path

import jwt
import pytest

from tests.support.server import Server, ServerDied, serving
from tests.support.toml import build_toml

PRETEND = (sys.executable, "-m", "tests.support_tests.pretend_server")


async def echo(server: Server) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"hello\n")
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_it_starts_stops_and_starts_again_on_its_port(tmp_path: Path) -> None:
    async with serving(tmp_path, {"upload": {"max_bytes": 5}}, command=PRETEND) as server:
        port = server.port
        assert server.endpoint == f"http://127.0.0.1:{port}/upload/"
        assert await echo(server) == b"hello\n"
        assert await server.stop() == 0
        assert server.logs[-1] == {"event": "stopped"}
        await server.restart()
        assert (server.port, await echo(server)) == (port, b"hello\n")
        await server.restart(kill=True)
        assert (server.port, await echo(server)) == (port, b"hello\n")
        configured = await server.logged("configured")
        assert configured["settings"]["upload"] == {"max_bytes": 5}
        assert configured["settings"]["log"] == {"format": "json"}
    assert not server.runs


async def test_a_frozen_server_answers_when_it_thaws(tmp_path: Path) -> None:
    async with serving(tmp_path, command=PRETEND) as server:
        server.pause()
        asked = asyncio.create_task(echo(server))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asked), 0.1)
        server.resume()
        assert await asked == b"hello\n"


async def test_a_server_that_dies_at_its_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(ServerDied, match=r"(?s)ended with 3.*no such luck"):
        async with serving(tmp_path, {"fail": True}, command=PRETEND):
            pass


async def test_two_servers_share_a_directory_and_a_key(tmp_path: Path) -> None:
    async with serving(tmp_path, command=PRETEND) as server:
        twin = server.twin("other")
        try:
            await twin.start()
            assert twin.port != server.port
            assert twin.data_directory == server.data_directory
            token = twin.mint(video_id=5, client_id="7", scope="x", exp=None)
            key = (tmp_path / "key").read_text().strip()
            claims = jwt.decode(token, key, algorithms=["HS256"])
            assert claims == {"video_id": 5, "client_id": "7", "scope": "x"}
        finally:
            await twin.kill9()


def test_settings_become_toml_and_come_back() -> None:
    settings = {
        "http": {"port": 0, "host": 'a "b"\n\x7f\\', "ratio": 0.5},
        "deep": {"er": {"on": True, "list": ["a", 1]}},
        "hooks": [{"name": "one", "headers": {"X-Y": "z"}}, {"name": "two"}],
    }
    assert tomllib.loads(build_toml(settings)) == settings
