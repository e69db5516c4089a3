"""What the tests against the real process share: contents, places, hooks, last judgements."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support import tus
from tests.support.receiver import SECRET, Receiver
from tests.support.server import Server
from tests.support.wire import Response

KIB = 1024
MIB = 1024 * KIB
POLL_SECONDS = 0.01


def content(size: int, seed: int = 0) -> bytes:
    """Bytes that no shift, repetition or swap leaves as they are; the same for the same seed."""
    return random.Random(seed).randbytes(size)


def upload_id(url: str) -> str:
    return url.rpartition("/")[2]


def stored_file(server: Server, url: str) -> Path:
    """Where the bytes of an upload lie, as ``conf/layout.md`` says."""
    name = upload_id(url)
    return server.store_root / name[:3] / f"{name}.bin"


def stored_bytes(server: Server, url: str) -> bytes:
    return stored_file(server, url).read_bytes()


def stored_size(server: Server, url: str) -> int:
    try:
        return stored_file(server, url).stat().st_size
    except FileNotFoundError:
        return 0


async def until(satisfied: Callable[[], bool], *, seconds: float = 20.0) -> None:
    """For what nobody tells, the size of a file for one: look until it is so."""
    async with asyncio.timeout(seconds):
        while not satisfied():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(POLL_SECONDS)


async def until_stored(server: Server, url: str, count: int) -> None:
    """Wait until ``count`` bytes of the upload lie in its file."""
    await until(lambda: stored_size(server, url) >= count)


def webhook(directory: Path, receiver: Receiver, *, name: str = "video", **more: Any) -> Any:
    """One entry of ``[[hooks]]``; its secret lies in a file."""
    directory.mkdir(parents=True, exist_ok=True)
    secret_file = directory / "webhook.secret"
    if not secret_file.exists():
        secret_file.touch(mode=0o600)
        secret_file.write_text(SECRET + "\n")
    own = {"name": name, "kind": "webhook", "url": receiver.url, "secret_file": str(secret_file)}
    return own | more


SOON = {"first_retry_seconds": 0.1, "max_retry_seconds": 0.4}
"""``[outbox]``: a receiver that was away is asked again soon."""


def hooked(directory: Path, receiver: Receiver, **sections: Any) -> dict[str, Any]:
    """Settings with one receiver, told again soon."""
    return {"hooks": [webhook(directory, receiver)], "outbox": SOON} | sections


async def created(
    server: Server, length: int | None, *, endpoint: str | None = None, **claims: Any
) -> str:
    """An upload that waits for its bytes; its URL."""
    owner = {"video_id": "1001", "client_id": "7"} | claims
    answer = await tus.create(
        endpoint or server.endpoint,
        length=length,
        metadata=tus.video_metadata(server.mint(**owner), owner["video_id"], owner["client_id"]),
    )
    assert answer.status == 201, (answer.status, answer.text)
    return answer.location


async def finished(server: Server, data: bytes, **claims: Any) -> str:
    """An upload that is complete; its URL."""
    url = await created(server, len(data), **claims)
    done = await tus.patch(url, 0, data)
    assert (done.status, done.offset) == (204, len(data)), done.text
    return url


def kinds(receiver: Receiver, url: str) -> list[str]:
    """What was taken about an upload, in order, each event once."""
    seen: dict[str, str] = {}
    for one in receiver.of(upload_id(url)):
        seen.setdefault(one.event_id, one.kind)
    return list(seen.values())


async def head_until_200(url: str) -> Response:
    """HEAD until it is not told to try again; 423 is the only other answer there may be."""
    async with asyncio.timeout(20):
        while (found := await tus.head(url)).status == 423:
            pass
    assert found.status == 200, (found.status, found.text)
    return found


def completion_ids(receiver: Receiver, upload: str) -> set[str]:
    """Under which ids the completion was told, deliveries that were not taken included."""
    return {
        one.event_id
        for one in receiver.deliveries
        if one.upload_id == upload_id(upload) and one.kind == "upload.completed"
    }


async def assert_finished(server: Server, receiver: Receiver, url: str, data: bytes) -> None:
    """Byte-identical, and told as completed under exactly one id, by a good signature."""
    told = await receiver.told(upload_id(url), "upload.completed")
    assert stored_bytes(server, url) == data
    assert completion_ids(receiver, url) == {told.event_id}
    assert [one.problem for one in receiver.deliveries if one.problem] == []
    assert (told.data["length"], told.data["offset"]) == (len(data), len(data))
