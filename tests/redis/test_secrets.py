"""What nobody may read in a log."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from pydantic import SecretStr

from tests.redis.links import BOOT, LEASE_SECONDS
from tusd_py.state.base import StateError
from tusd_py.state.redis.settings import RedisSettings
from tusd_py.state.redis.store import RedisState

PASSWORD: Final = "this-must-not-be-seen"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server that does not know AUTH, and repeats what it was asked, as Redis does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while count := (await reader.readline()).strip().lstrip(b"*"):
            words = []
            for _ in range(int(count)):
                size = int((await reader.readline()).strip().lstrip(b"$"))
                words.append((await reader.readexactly(size + 2))[:-2].decode())
            shown = " ".join(f"'{word}'" for word in words[1:])
            said = f"unknown command '{words[0]}', with args beginning with: {shown}"
            writer.write(f"-ERR {said} \r\n".encode())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


@pytest.mark.parametrize("username", [None, "somebody"])
@pytest.mark.parametrize("kind", ["url", "sentinels", "cluster_nodes"])
async def test_a_server_that_repeats_the_login_does_not_bring_it_into_a_log(
    port: int, kind: str, username: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A program that is not Redis answers there, or one whose AUTH has another name."""
    caplog.set_level(logging.DEBUG)
    address = f"127.0.0.1:{port}"
    login = {"username": username, "password": SecretStr(PASSWORD)}
    ways: dict[str, dict[str, Any]] = {
        "url": {"url": f"redis://{address}", **login},
        "cluster_nodes": {"cluster_nodes": [address], **login},
        "sentinels": {
            "sentinels": [address],
            "master_name": "m",
            "sentinel_username": username,
            "sentinel_password": PASSWORD,
        },
    }
    settings = RedisSettings.model_validate(
        {**ways[kind], "call_seconds": 0.5, "connect_seconds": 0.5}
    )
    state = RedisState(settings, boot=BOOT, lease_seconds=LEASE_SECONDS, clock=lambda: 0.0)
    with pytest.raises(StateError) as refused:
        await state.open()
    told = "".join(traceback.format_exception(refused.value)) + repr(settings)
    logged = "".join(logging.Formatter().format(record) for record in caplog.records)
    assert PASSWORD not in told
    assert PASSWORD not in logged
