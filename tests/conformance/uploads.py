"""What the tests of the wire have in common: uploads to play with, and what refusals look like."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin
from uuid import uuid4

from tests.support import tus
from tests.support.server import REPOSITORY, Server
from tests.support.wire import Response, Wire, path_of

POLL_SECONDS = 0.01
POLLED_SECONDS = 20.0
TUS = tus.TUS
PATCH = TUS | {"Content-Type": tus.OFFSET_STREAM}
METADATA = tus.video_metadata(None, "1001", "7")


def some_bytes(size: int) -> bytes:
    """Bytes that tell one position from another."""
    return (b"".join(b"%07d\n" % number for number in range(size // 8 + 1)))[:size]


async def new_upload(
    server: Server, *, length: int | None = 10, data: bytes = b"", wire: Wire | None = None
) -> str:
    """The URL of an upload with ``data`` in it; ``length`` None: deferred."""
    created = await tus.create(
        server.endpoint, length=length, metadata=METADATA, bearer=server.mint(), wire=wire
    )
    assert created.status == 201, (created.status, created.text)
    url = urljoin(server.endpoint, created.location)
    if data:
        patched = await tus.patch(url, 0, data, wire=wire)
        assert (patched.status, patched.offset) == (204, len(data)), patched.text
    return url


async def create(
    server: Server,
    metadata: Mapping[str, str] | None = None,
    *,
    token: str | None = None,
    bearer: str | None = None,
    length: int = 5,
) -> Response:
    """A creation with the token in the metadata, in the header, or nowhere."""
    pairs = dict(metadata or {}) | ({} if token is None else {"token": token})
    return await tus.create(server.endpoint, length=length, metadata=pairs, bearer=bearer)


def shown(token: str) -> str:
    return f"token invalid ({token[:12]}…)"


def id_of(url: str) -> str:
    return url.rpartition("/")[2]


def stored_bytes(server: Server, url: str) -> bytes:
    """What lies on the disk of an upload."""
    upload_id = id_of(url)
    path = server.data_directory / "uploads" / upload_id[:3] / f"{upload_id}.bin"
    return path.read_bytes() if path.exists() else b""


def stored_files(server: Server) -> set[str]:
    """The names of all files in the store, but for those that tell of hosts."""
    root = server.data_directory / "uploads"
    return {
        name
        for folder, _, names in os.walk(root)
        if Path(folder) != root / "hosts"
        for name in names
    }


async def offset_of(url: str, server: Server | None = None) -> int:
    headers = {} if server is None else {"Authorization": f"Bearer {server.mint()}"}
    answer = await tus.head(url, headers=headers)
    assert answer.status == 200, answer.status
    return answer.offset


async def until(is_so: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    """Look again and again for what no event tells of: files on the disk, the end of a life."""
    async with asyncio.timeout(POLLED_SECONDS):
        while True:
            found = is_so()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(POLL_SECONDS)


class Traced:
    """A request whose end can be awaited, also where nobody is left to read its answer."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.id = f"traced-{uuid4().hex}"
        self.headers = {"X-Request-ID": self.id}

    async def ended(self) -> dict[str, Any]:
        """What the server noted of it."""
        return await self._server.logged(
            lambda record: record.get("event") == "request" and record.get("request_id") == self.id
        )


def refusal(answer: Response, status: int, code: str) -> str:
    """Check that this is a refusal as every refusal is, and return its sentence."""
    assert answer.status == status, (answer.status, answer.text)
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    exposed = answer.headers["Access-Control-Expose-Headers"]
    assert "Upload-Offset" in exposed and "X-Request-ID" in exposed
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    said = json.loads(answer.body)
    assert said.keys() == {"code", "message", "request_id"}
    assert said["code"] == code
    assert said["request_id"] == answer.headers["X-Request-ID"]
    sentence: str = said["message"]
    assert sentence and "\n" not in sentence and len(sentence) < 300
    assert "Traceback" not in sentence and "Error(" not in sentence
    return sentence


async def raw(wire: Wire, *lines: str | bytes, method: str = "POST", body: bytes = b"") -> Response:
    """Send lines as they are, with an empty line behind them, and read the one answer."""
    await send_raw(wire, *lines, method=method, body=body)
    return await wire.read_response()


async def send_raw(
    wire: Wire, *lines: str | bytes, method: str = "POST", body: bytes = b""
) -> None:
    head = b"\r\n".join(line.encode("latin-1") if isinstance(line, str) else line for line in lines)
    wire.expect_answer(method)
    await wire.send(head + b"\r\n\r\n" + body)


def spelled_delete(url: str, netloc: str) -> bytes:
    """Bytes of a body that a parser which lost its place would carry out."""
    return (
        f"DELETE {path_of(url)} HTTP/1.1\r\nHost: {netloc}\r\n"
        "Tus-Resumable: 1.0.0\r\nContent-Length: 0\r\n\r\n"
    ).encode()


async def listed_uploads(server: Server) -> list[dict[str, Any]]:
    """What the command ``uploads list --json`` says."""
    config = server.directory / f"{server.name}.toml"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tusd_py", "uploads", "list", "--json", "--limit", "10000"),
        *("--config", str(config), "--data-dir", str(server.data_directory)),
        cwd=server.directory,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    found: list[dict[str, Any]] = json.loads(out)["uploads"]
    return found
