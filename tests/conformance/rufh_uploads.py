"""What the tests of Resumable Uploads for HTTP have in common."""

import json
from typing import Any

import pytest

from tests.support.rufh import NEWEST, PROBLEMS, VERSIONS, Rufh
from tests.support.server import Server
from tests.support.wire import Response, Wire

NEW = Rufh(NEWEST)
UNNAMED = Rufh(None)
TODAY = pytest.mark.parametrize("rufh", [NEW, UNNAMED], ids=["8", "unnamed"])
"""The newest version, and the RFC's clients to come, who name none."""
EVERY = pytest.mark.parametrize(
    "rufh", [UNNAMED, *map(Rufh, VERSIONS)], ids=["unnamed", *map(str, VERSIONS)]
)


async def begun(
    server: Server,
    rufh: Rufh = NEW,
    data: bytes = b"12345",
    *,
    headers: dict[str, str] | None = None,
    wire: Wire | None = None,
) -> str:
    """The address of an upload with these bytes and more to come."""
    answer = await rufh.create(
        server.endpoint, data, is_end=False, bearer=server.mint(), headers=headers, wire=wire
    )
    assert (answer.status, rufh.is_complete(answer)) == (201, False), answer.text
    assert answer.offset == len(data)
    return answer.location


async def completed(server: Server, rufh: Rufh = NEW, data: bytes = b"12345") -> str:
    """The address of a complete upload."""
    answer = await rufh.create(server.endpoint, data, is_end=True, bearer=server.mint())
    assert (answer.status, rufh.is_complete(answer)) == (201, True), answer.text
    return answer.location


async def state(url: str, rufh: Rufh = NEW) -> tuple[int, bool]:
    """Offset and completeness, as HEAD tells them."""
    answer = await rufh.head(url)
    assert answer.status in (200, 204), answer.status
    return answer.offset, rufh.is_complete(answer)


def problem(answer: Response, status: int, code: str, name: str | None = None) -> dict[str, Any]:
    """Check that this is a refusal as every refusal is, and return its members."""
    assert answer.status == status, (answer.status, answer.text)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    said: dict[str, Any] = json.loads(answer.body)
    assert said["type"] == ("about:blank" if name is None else PROBLEMS + name)
    assert (said["status"], said["code"]) == (status, code)
    assert said["request_id"] == answer.headers["X-Request-ID"]
    assert said["title"] and "\n" not in said["detail"] and "Traceback" not in said["detail"]
    return said
