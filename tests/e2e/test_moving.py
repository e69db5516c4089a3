"""An installation moves from a state file into Redis and back, between two halves of an upload."""

import json
from pathlib import Path
from typing import Any

from tests.e2e.rig import (
    KIB,
    completion_ids,
    content,
    created,
    finished,
    head_until_200,
    hooked,
    stored_bytes,
    upload_id,
)
from tests.e2e.test_cli import command
from tests.support import tus
from tests.support.receiver import Receiver, receiving
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.server import Server
from tests.support.toml import build_toml

LEASE = {"lease_seconds": 1.0, "checkpoint_seconds": 0.2}
DATA = content(300 * KIB)


def server_on(directory: Path, receiver: Receiver, name: str, **sections: Any) -> Server:
    """A server of the installation, which has the state that ``sections`` say."""
    settings = hooked(directory, receiver, upload=LEASE, **sections)
    return Server(directory, settings, name=name)


def in_redis(redis: RedisServer) -> dict[str, Any]:
    return {
        "state": {"kind": "redis", "url": redis.url, "prefix": "moved"},
        "process": {"host_name": "node-1"},
    }


async def copy(source: Server, target: str) -> dict[str, Any]:
    """From the state of a server that is stopped. What is told of it."""
    words = ("state", "copy", "--from", "config", "--to", target, "--json")
    code, out, err = await command(source, *words)
    assert code == 0, err
    told: dict[str, Any] = json.loads(out)
    return told


async def history(directory: Path, receiver: Receiver) -> tuple[Server, dict[str, str]]:
    """Three uploads on a server with a state file: the completion of one is a dead letter, that of
    another waits, and the third one has half of its bytes. The server has stopped."""
    receiver_is_away = {"max_retry_seconds": 0.4, "first_retry_seconds": 0.1}
    await receiver.go_away()
    server = server_on(directory, receiver, "impatient")
    server.settings = server.settings | {"outbox": receiver_is_away | {"give_up_seconds": 0.1}}
    await server.start()
    dead = await finished(server, DATA)
    await server.logged(lambda one: one["event"] == "event_buried" and "completed" in str(one))
    await server.stop()
    server = server_on(directory, receiver, "first")
    await server.start()
    waiting = await finished(server, DATA)
    half = await created(server, len(DATA))
    assert (await tus.patch(half, 0, DATA[:1000])).status == 204
    await server.stop()
    paths = {name: upload_id(url) for name, url in zip("dwh", (dead, waiting, half), strict=True)}
    return server, paths


async def go_on(server: Server, path: str, offset: int, count: int) -> None:
    """The upload is where it was, and gets some more bytes."""
    url = server.endpoint + path
    assert (await head_until_200(url)).offset == offset
    answer = await tus.patch(url, offset, DATA[offset : offset + count])
    assert (answer.status, answer.offset) == (204, offset + count), answer.text


async def test_uploads_go_on_and_are_told_once_wherever_the_state_lies(tmp_path: Path) -> None:
    """SQLite to Redis to SQLite, stopped each time: nothing is uploaded or told twice, dead letters
    are still there, and no completion is lost."""
    async with receiving() as receiver, redis_server(tmp_path / "redis") as redis:
        first, paths = await history(tmp_path / "tusd", receiver)
        second = server_on(first.directory, receiver, "second", **in_redis(redis))
        third = server_on(first.directory, receiver, "third", state={"path": "third.db"})
        try:
            (second.directory / "second.toml").write_text(build_toml(second.settings))
            told = await copy(first, "second.toml")
            assert (told["uploads"], told["dead_letters"]) == (3, 2)
            assert told["waiting"] == 3, told
            await receiver.come_back()
            await second.start()
            await receiver.told(paths["w"], "upload.completed")
            await go_on(second, paths["h"], 1000, 1000)
            await second.stop()

            told = await copy(second, "sqlite:third.db")
            assert (told["uploads"], told["dead_letters"], told["waiting"]) == (3, 2, 0)
            await third.start()
            await go_on(third, paths["h"], 2000, len(DATA) - 2000)
            await receiver.told(paths["h"], "upload.completed")
            code, out, err = await command(third, "events", "replay", "--json")
            assert (code, json.loads(out)) == (0, {"replayed": 2}), err
            await receiver.told(paths["d"], "upload.completed")
            for path in paths.values():
                url = third.endpoint + path
                assert len(completion_ids(receiver, url)) == 1
                assert len(receiver.of(path, "upload.completed")) == 1
                assert stored_bytes(third, url) == DATA
                assert (await head_until_200(url)).offset == len(DATA)
        finally:
            await third.kill9()
            await second.kill9()
            await first.kill9()


async def test_a_server_that_was_killed_is_waited_for_and_its_bytes_go_on(tmp_path: Path) -> None:
    """It may live as far as Redis knows; once its lease is over the state is copied, and what it
    acknowledged is there, for the machine has not restarted."""
    async with receiving() as receiver, redis_server(tmp_path / "redis") as redis:
        server = server_on(tmp_path / "tusd", receiver, "second", **in_redis(redis))
        # Longer than a command needs to look.
        server.settings = server.settings | {"upload": {"lease_seconds": 6.0}}
        back = server_on(tmp_path / "tusd", receiver, "third", state={"path": "third.db"})
        try:
            await server.start()
            path = upload_id(await created(server, len(DATA)))
            await go_on(server, path, 0, 5000)
            await server.kill9()
            words = ("state", "copy", "--from", "config", "--to", "sqlite:third.db")
            code, out, err = await command(server, *words)
            assert (code, out) == (6, "") and "stop every server" in err
            while code == 6:
                code, out, err = await command(server, *words)
            assert code == 0, err
            await back.start()
            await go_on(back, path, 5000, len(DATA) - 5000)
            await receiver.told(path, "upload.completed")
        finally:
            await back.kill9()
            await server.kill9()


async def test_a_server_that_runs_is_neither_copied_from_nor_to(tmp_path: Path) -> None:
    """In Redis others are known by their heartbeat."""
    async with receiving() as receiver, redis_server(tmp_path / "redis") as redis:
        first, _ = await history(tmp_path / "tusd", receiver)
        second = server_on(first.directory, receiver, "second", **in_redis(redis))
        try:
            await second.start()
            words = ("state", "copy", "--from", "config", "--to")
            code, _, err = await command(first, *words, "second.toml")
            assert code == 6 and "stop every server" in err
            code, _, err = await command(second, *words, "sqlite:third.db")
            assert code == 6 and "stop every server" in err
        finally:
            await second.kill9()
            await first.kill9()
