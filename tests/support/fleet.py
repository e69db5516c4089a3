"""Several servers on one store and one state, behind a real proxy that asks them in turn.

To a test a ``Fleet`` is one server: it has an address, it is killed, stopped and started again as a
whole. ``machines`` are the servers of it, each a process with a name as a host, a port and a
data folder of its own; those are killed, frozen and started again alone.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit, urlunsplit

from tests.support.proxies import Kind, Proxy
from tests.support.server import STOP_SECONDS, Server, merged

MACHINES: Final = 3
LEASE: Final = {"lease_seconds": 2.0, "checkpoint_seconds": 0.5}
"""Where a test does not say: on another machine a dead holder is known by its lease alone, so
that every kill costs somebody this time."""
INTERIM: Final = {"nginx": "direct", "caddy": "always"}
"""What the file of each proxy says of ``http.interim_answers``."""


class Fleet(Server):
    """Servers that share all but what is a machine's own."""

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, Any] | None = None,
        *,
        state: Mapping[str, Any],
        proxy: Kind | None = "nginx",
        block: str = "",
        machines: int = MACHINES,
        **options: Any,
    ) -> None:
        """``state``: the section of this name. ``proxy``: None where each machine is asked itself;
        ``block``: as for ``Proxy``. ``options``: as for ``Server``, for each machine."""
        super().__init__(directory, merged({"upload": LEASE}, settings or {}), **options)
        shared: dict[str, Any] = {
            "store": {"root": str(self.store_root)},
            "state": dict(state),
        }
        if proxy is not None:
            shared["http"] = {
                "trusted_proxies": ["127.0.0.1"],
                "interim_answers": INTERIM[proxy],
            }
        self.settings = merged(self.settings, shared)
        self.machines = [self._machine(number, options) for number in range(machines)]
        self._kind = proxy
        self._block = block
        self.proxy: Proxy | None = None
        """Once it was started."""

    def _machine(self, number: int, options: Mapping[str, Any]) -> Server:
        name = f"{self.name}-{number + 1}"
        own: dict[str, Any] = {}
        if self.settings["state"]["kind"] != "sqlite":  # which has one host by definition
            own = {"process": {"host_name": name}}
        return Server(
            self.directory / name,
            merged(self.settings, own),
            **{**options, "name": name},
            heard_by=self,
        )

    def through(self, machine: Server, url: str) -> str:
        """The address of an upload at this very machine."""
        own = urlsplit(machine.base)
        return urlunsplit(urlsplit(url)._replace(scheme=own.scheme, netloc=own.netloc))

    # --- as one server

    async def start(self) -> Self:
        try:
            async with asyncio.TaskGroup() as group:
                for machine in self.machines:
                    group.create_task(machine.start())
        except* Exception as failed:
            await self.kill9()
            raise failed.exceptions[0] from None
        if self.proxy is None and self._kind is not None:  # it stays while machines come and go
            upstreams = [f"127.0.0.1:{machine.port}" for machine in self.machines]
            self.proxy = Proxy(
                self._kind,
                self.directory / self._kind,
                upstreams,
                is_open=True,
                block=self._block,
            )
            await self.proxy.start()
        first = self.machines[0]
        self.base = first.base if self.proxy is None else self.proxy.base
        self.pid = first.pid
        self.endpoint = self.base + urlsplit(first.endpoint).path
        return self

    async def close(self) -> None:
        """Everything, at once."""
        await self.kill9()
        if self.proxy is not None:
            await self.proxy.end()

    async def kill9(self) -> None:
        await asyncio.gather(*(machine.kill9() for machine in self.machines))

    def terminate(self) -> None:
        for machine in self.machines:
            machine.terminate()

    async def ended(self, *, seconds: float = STOP_SECONDS) -> int:
        return max(
            await asyncio.gather(*(machine.ended(seconds=seconds) for machine in self.machines))
        )

    def pause(self) -> None:
        for machine in self.machines:
            machine.pause()

    def resume(self) -> None:
        for machine in self.machines:
            machine.resume()

    @property
    def runs(self) -> bool:
        return any(machine.runs for machine in self.machines)

    @property
    def own_flags(self) -> tuple[str, ...]:
        return self.machines[0].own_flags


@asynccontextmanager
async def fleet(
    directory: Path, settings: Mapping[str, Any] | None = None, **options: Any
) -> AsyncIterator[Fleet]:
    """A fleet that serves; killed at the end, its proxy too. See ``Fleet`` for the options."""
    made = Fleet(directory, settings, **options)
    try:
        await made.start()
        yield made
    finally:
        await made.close()
