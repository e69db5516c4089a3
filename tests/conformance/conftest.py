"""The servers that are asked: each is started once, when the first test wants it.

All tests share one event loop, because the loop that started a server must go on reading its
log. A server that logged an error of its own at the end has not passed, whatever it answered.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pytest_asyncio import is_async_test

from tests.conformance.keys import write_key_set
from tests.support.server import Server, serving

HERE = Path(__file__).parent
MAX_BYTES = 16 * 1024 * 1024
EXPIRE_SECONDS = 3600.0
BODY_IDLE_SECONDS = 0.6
MIN_BYTES_PER_SECOND = 2000.0
SHORT_LIFE_SECONDS = 1.0
TURN_SECONDS = 1.5
SLOWED_BYTES_PER_SECOND = 64 * 1024


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("conformance"))
            if is_async_test(item):
                item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


def faults_of(server: Server) -> list[dict[str, Any]]:
    """What the server holds to be its own fault."""
    return [record for record in server.logs if record.get("level") in ("error", "critical")]


@asynccontextmanager
async def faultless(directory: Path, settings: Mapping[str, Any]) -> AsyncIterator[Server]:
    """A server that has to get through without a fault, and to end in order."""
    async with serving(directory, settings) as server:
        pid = server.pid
        yield server
        assert server.runs and server.pid == pid
        assert await server.stop() == 0
        assert faults_of(server) == []


def _fixture(name: str, settings: Mapping[str, Any], doc: str) -> Any:
    async def fixture(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
        async with faultless(tmp_path_factory.mktemp(name), settings) as server:
            yield server

    fixture.__doc__ = doc
    return pytest_asyncio.fixture(scope="session", loop_scope="session", name=name)(fixture)


server = _fixture(
    "server",
    {"upload": {"max_bytes": MAX_BYTES, "expire_seconds": EXPIRE_SECONDS}},
    "Tokens at creation, a longest upload, expiry: the server that most tests ask.",
)
small_server = _fixture(
    "small_server", {}, "All defaults, and few uploads: every file of it can be looked at."
)
open_server = _fixture(
    "open_server",
    {"auth": {"mode": "off"}, "upload": {"expire_seconds": "none", "max_bytes": "none"}},
    "No tokens, no bounds, no expiry.",
)
strict_server = _fixture(
    "strict_server", {"auth": {"mode": "every-request"}}, "A token with every request."
)
platform_server = _fixture(
    "platform_server", {"auth": {"refusal_status": 500}}, "Refuses tokens with 500."
)
impatient_server = _fixture(
    "impatient_server",
    {
        "http": {
            "body_idle_seconds": BODY_IDLE_SECONDS,
            "min_bytes_per_second": MIN_BYTES_PER_SECOND,
            "keepalive_seconds": 1,
        }
    },
    "Waits for nobody.",
)
eager_server = _fixture(
    "eager_server",
    {"upload": {"checkpoint_seconds": 0.1}, "store": {"durability": "process"}},
    "Commits the progress of a body often, and tells it before it is synced.",
)
fleeting_server = _fixture(
    "fleeting_server",
    {
        "upload": {
            "expire_seconds": SHORT_LIFE_SECONDS,
            "expiry": "absolute",
            "sweep_seconds": 0.1,
        }
    },
    "Unfinished uploads live for a second.",
)
closed_server = _fixture(
    "closed_server",
    {"download": {"enabled": False}, "watch": {"enabled": False}},
    "Hands nothing out and shows nothing.",
)
refusing_server = _fixture(
    "refusing_server",
    {
        "limits": {"creations": 1, "creation_seconds": 600, "answer": "refuse"},
        "upload": {"max_bytes": MAX_BYTES},
    },
    "A client creates one upload in ten minutes, and is refused another.",
)
slowing_server = _fixture(
    "slowing_server",
    {
        "limits": {
            "creations": 1,
            "creation_seconds": TURN_SECONDS,
            "max_wait_seconds": 1.1 * TURN_SECONDS,
            "bodies": 1,
            "slowed_bytes_per_second": SLOWED_BYTES_PER_SECOND,
        },
        "http": {"body_idle_seconds": BODY_IDLE_SECONDS},
    },
    "A client creates an upload each few moments, and sends one at full speed.",
)
proxied_server = _fixture(
    "proxied_server",
    {
        "http": {
            "trusted_proxies": ["127.0.0.1"],
            "cors_origins": ["https://studio.example", "https://www.example"],
            "cors_credentials": True,
        }
    },
    "Behind a proxy that it trusts, for the scripts of two origins.",
)
prefixed_server = _fixture(
    "prefixed_server",
    {"http": {"public_url": "https://up.example/api", "base_path": "/files"}},
    "Known to its clients under another address and path.",
)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def keyed_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """Verifies with one key of each kind."""
    directory = tmp_path_factory.mktemp("keyed")
    key_file = write_key_set(directory)
    async with faultless(directory, {"auth": {"key_file": str(key_file)}}) as server:
        yield server
