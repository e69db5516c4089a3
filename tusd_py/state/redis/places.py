"""Where the buckets live: on one server, on whom sentinels name, or on the masters of a Cluster.

A place is the number of a bucket; the last one, ``buckets``, is that of what belongs to no bucket.
"""

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from redis.crc import key_slot
from redis.exceptions import ClusterDownError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from tusd_py.state.redis.connect import Address, Dialer, Wire
from tusd_py.state.redis.settings import DEFAULT_PORT, SENTINEL_PORT, RedisSettings, parse_host

log = logging.getLogger(__name__)

SENTINEL_CHECK_SECONDS: Final = 1.0
"""How often the sentinels are asked though nothing failed: a master that was cut off from the
others still answers us, and forgets what we write as soon as it hears of its successor."""
CLUSTER_CHECK_SECONDS: Final = 30.0
"""Nodes say themselves where a slot has moved to."""
NETWORK_ERRORS: Final = (RedisError, OSError, TimeoutError)


class Places(ABC):
    """Finds out which address serves which place."""

    check_seconds: float | None = None
    """How often to look though nothing failed; None: there is nothing to find."""
    is_cluster = False

    def __init__(self, settings: RedisSettings, dialer: Dialer) -> None:
        self._settings = settings
        self._dialer = dialer

    @abstractmethod
    async def find(self) -> Sequence[Address]:
        """The address of every place. Bounded in time. Raises RedisError, OSError."""

    async def any_address(self) -> Address:
        """Where to listen for messages: every server passes them on."""
        return (await self.find())[-1]

    async def close(self) -> None:
        """Let go of connections that are kept."""
        return


class OneServer(Places):
    """A fixed address."""

    async def find(self) -> Sequence[Address]:
        url = self._settings.parsed_url
        assert url is not None
        address = Address(url.host, url.port, url.path)
        return [address] * (self._settings.buckets + 1)


class Watched(Places):
    """The master that most of the sentinels name. Connections to them are kept."""

    check_seconds = SENTINEL_CHECK_SECONDS

    def __init__(self, settings: RedisSettings, dialer: Dialer) -> None:
        super().__init__(settings, dialer)
        self._sentinels = [Address(*parse_host(text, SENTINEL_PORT)) for text in settings.sentinels]
        self._wires: dict[Address, Wire] = {}
        self._finding = asyncio.Lock()
        self._last_error: BaseException | None = None

    async def find(self) -> Sequence[Address]:
        async with self._finding:
            master = await self._vote()
        return [master] * (self._settings.buckets + 1)

    async def close(self) -> None:
        for wire in self._wires.values():
            await wire.close()
        self._wires.clear()

    async def _vote(self) -> Address:
        questions = [asyncio.ensure_future(self._ask(address)) for address in self._sentinels]
        votes: Counter[Address] = Counter()
        try:
            for answered in asyncio.as_completed(questions):
                if (named := await answered) is not None:
                    votes[named] += 1
                    if votes[named] * 2 > len(questions):
                        break
        finally:
            for question in questions:
                question.cancel()
            await asyncio.gather(*questions, return_exceptions=True)
        if not votes:
            raise RedisConnectionError("no sentinel names a master") from self._last_error
        # Without a majority: most of those that answered. A sentinel alone may be cut off, but to
        # follow nobody would help nobody.
        return votes.most_common(1)[0][0]

    async def _ask(self, sentinel: Address) -> Address | None:
        """Whom this one names; its connection is kept only if the answer was heard."""
        wire = self._wires.pop(sentinel, None)
        try:
            async with asyncio.timeout(self._settings.connect_seconds):
                if wire is None or await wire.is_stale():
                    wire = await self._redial(wire, sentinel)
                answer = await wire.ask(
                    "SENTINEL", "get-master-addr-by-name", self._settings.master_name or ""
                )
        except NETWORK_ERRORS as exc:
            self._last_error = exc
            log.debug("sentinel_silent", extra={"sentinel": str(sentinel)}, exc_info=exc)
            return None
        else:
            self._wires[sentinel], wire = wire, None
        finally:
            if wire is not None:
                await wire.close()
        if not isinstance(answer, list) or len(answer) != 2:
            return None
        return Address(answer[0].decode(), int(answer[1]))

    async def _redial(self, old: Wire | None, sentinel: Address) -> Wire:
        if old is not None:
            await old.close()
        return await self._dialer.dial(sentinel, is_sentinel=True)


class Clustered(Places):
    """The masters of a Cluster, by its own map of slots."""

    check_seconds = CLUSTER_CHECK_SECONDS
    is_cluster = True

    def __init__(self, settings: RedisSettings, dialer: Dialer) -> None:
        super().__init__(settings, dialer)
        self._seeds = [Address(*parse_host(text, DEFAULT_PORT)) for text in settings.cluster_nodes]
        self._nodes: list[Address] = []
        """Masters and replicas, as last heard of."""
        self._slots = [key_slot(key.encode()) for key in base_keys(settings)]

    async def find(self) -> Sequence[Address]:
        last: BaseException | None = None
        for node in self._order():
            try:
                ranges = await self._ask(node)
                found = [self._owner(ranges, slot) for slot in self._slots]
            except NETWORK_ERRORS as exc:
                last = exc
                continue
            return found
        raise RedisConnectionError("no node of the Cluster answers") from last

    async def any_address(self) -> Address:
        """One of the living, chosen by chance: listeners are spread over the nodes."""
        masters = list(dict.fromkeys(await self.find()))
        return random.choice(masters)

    def _order(self) -> list[Address]:
        known = list(dict.fromkeys([*self._nodes, *self._seeds]))
        random.shuffle(known)
        return known

    async def _ask(self, node: Address) -> list[tuple[int, int, Address]]:
        wire = await self._dialer.dial(node)
        try:
            async with asyncio.timeout(self._settings.connect_seconds):
                rows = await wire.ask("CLUSTER", "SLOTS")
        finally:
            await wire.close()
        ranges, nodes = parse_slots(rows, node)
        self._nodes = nodes
        return ranges

    @staticmethod
    def _owner(ranges: list[tuple[int, int, Address]], slot: int) -> Address:
        for first, last, address in ranges:
            if first <= slot <= last:
                return address
        raise ClusterDownError("CLUSTERDOWN a slot is served by nobody")


def parse_slots(rows: Any, asked: Address) -> tuple[list[tuple[int, int, Address]], list[Address]]:
    """The ranges of slots with their masters, and all nodes, of an answer to CLUSTER SLOTS. A node
    that does not know its own name is the one that was asked."""
    ranges: list[tuple[int, int, Address]] = []
    nodes: dict[Address, None] = {}
    for first, last, *servers in rows:
        addresses = [
            Address((host or b"").decode() or asked.host, int(port)) for host, port, *_ in servers
        ]
        nodes.update(dict.fromkeys(addresses))
        ranges.append((int(first), int(last), addresses[0]))
    return ranges, list(nodes)


def base_keys(settings: RedisSettings) -> list[str]:
    """What all keys of each place begin with. No key has just that name: see ``faults.judge``."""
    prefix = settings.prefix
    return [*(f"{prefix}:{{{n:02x}}}" for n in range(settings.buckets)), f"{prefix}:{{meta}}"]


def make_places(settings: RedisSettings, dialer: Dialer) -> Places:
    """As the settings have it."""
    if settings.sentinels:
        return Watched(settings, dialer)
    if settings.cluster_nodes:
        return Clustered(settings, dialer)
    return OneServer(settings, dialer)
