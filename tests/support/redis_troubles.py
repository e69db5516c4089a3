"""What happens to a Redis server, and ends again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.redis_servers import RedisServer
from tests.support.sockets import quiet_port


@asynccontextmanager
async def killed(server: RedisServer) -> AsyncIterator[None]:
    """What its disk has is there afterwards."""
    await server.kill9()
    try:
        yield
    finally:
        await server.start()


@asynccontextmanager
async def paused(server: RedisServer) -> AsyncIterator[None]:
    """Connections are made, and nothing is said on them."""
    server.pause()
    try:
        yield
    finally:
        server.resume()


@asynccontextmanager
async def a_replica(server: RedisServer) -> AsyncIterator[None]:
    """Of a master that is nowhere."""
    await server.call("REPLICAOF", server.host, quiet_port())
    try:
        yield
    finally:
        await server.call("REPLICAOF", "NO", "ONE")


@asynccontextmanager
async def configured(server: RedisServer, name: str, value: int) -> AsyncIterator[None]:
    """0 before and afterwards."""
    await server.call("CONFIG", "SET", name, value)
    try:
        yield
    finally:
        await server.call("CONFIG", "SET", name, 0)
