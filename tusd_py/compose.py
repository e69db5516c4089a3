"""The one place that wires: which objects there are and what each is made of."""

import asyncio
import ipaddress
import logging
import random
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes
from typing import TYPE_CHECKING, Final

from tusd_py import registry
from tusd_py.auth.base import AuthMode
from tusd_py.auth.jwt import load_keys
from tusd_py.auth.keys import MAKE_A_SECRET, KeyRing, create_development_key
from tusd_py.config import ConfigError, Tree
from tusd_py.core.reconcile import Durability
from tusd_py.hooks.base import Gate, Moment
from tusd_py.hooks.kinds import Hook
from tusd_py.host import Machine, this_machine
from tusd_py.metrics import CONTENT_TYPE, Metrics, Standing
from tusd_py.service.access import Access
from tusd_py.service.deliveries import Subscription
from tusd_py.service.gates import Gates
from tusd_py.service.observer import Observer, SilentObserver
from tusd_py.service.observing import Observing
from tusd_py.service.outbox import Dispatcher
from tusd_py.service.parts import Parts
from tusd_py.service.sweeper import Sweeper
from tusd_py.service.uploads import Uploads
from tusd_py.state.base import StateError, StateStore
from tusd_py.stores.base import ByteStore, StoreError

if TYPE_CHECKING:
    from tusd_py.web.site import SiteParts

log = logging.getLogger(__name__)

DEVELOPMENT_KEY_FILE: Final = "development.key"
CHECK_SECONDS: Final = 3.0
"""For one check of readiness, or the figures of one scrape."""


# ------------------------------------------------------------------ keys and checks


@dataclass(frozen=True, slots=True)
class LoadedKeys:
    """The keys, and where they are a development key's, which one."""

    keys: KeyRing
    development_file: Path | None = None


def has_own_key(tree: Tree) -> bool:
    settings = tree.auth.settings
    return settings.key is not None or settings.key_file is not None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check(tree: Tree) -> None:
    """What settings of several parts contradict. Raises ConfigError."""
    problems = []
    host = tree.http.host
    needs_key = tree.auth.settings.mode is not AuthMode.OFF and not has_own_key(tree)
    if needs_key and not is_loopback(host):
        problems.append(
            f"[http] host {host!r} is reached from other machines, and there is no key of your "
            f"own: make one ({MAKE_A_SECRET} > token.key), protect it (chmod 600 token.key) and "
            'set key_file = "token.key" in [auth] (or TUSD_PY_AUTH_KEY_FILE, or the key itself in '
            "TUSD_PY_AUTH_KEY)"
        )
    if problems:
        raise ConfigError(problems)


def load_key_ring(tree: Tree) -> LoadedKeys:
    """The configured keys, else the development key, made where there is none. Blocks. Raises
    KeyUnusable."""
    settings = tree.auth.settings
    if has_own_key(tree):
        return LoadedKeys(load_keys(settings, {}))
    file = tree.data_dir / DEVELOPMENT_KEY_FILE
    is_new = create_development_key(file)
    # Every start says it again: a server must not go live with it unnoticed.
    log.warning("development_key_in_use", extra={"path": str(file), "is_new": is_new})
    own = settings.model_copy(update={"key_file": file})
    return LoadedKeys(load_keys(own, {}), file)


def build_access(tree: Tree) -> Access:
    """Who may do what. Blocks (key files), before anything is served."""
    settings = tree.auth.settings
    if settings.mode is AuthMode.OFF:
        if not is_loopback(tree.http.host):
            log.warning(
                "auth_off_on_public_address",
                extra={"host": tree.http.host, "effect": "anybody who reaches it may upload"},
            )
        return Access(None, settings.mode, settings.refusal_status)
    keys = load_key_ring(tree).keys
    authenticator = registry.load(registry.AUTHENTICATORS[tree.auth.kind])(settings, keys)
    return Access(authenticator, settings.mode, settings.refusal_status)


# ------------------------------------------------------------------ store, state, services


def build_store(tree: Tree) -> ByteStore:
    store: ByteStore = registry.load(registry.STORES[tree.store.kind])(tree.store.settings)
    return store


def build_state(tree: Tree, machine: Machine, durability: Durability) -> StateStore:
    state: StateStore = registry.load(registry.STATES[tree.state.kind])(
        tree.state.settings,
        boot=machine.boot,
        lease_seconds=tree.upload.lease_seconds,
        clock=machine.clock,
        power_safe=durability is Durability.POWER,
    )
    return state


def build_hooks(tree: Tree) -> list[Hook]:
    """Every configured hook. Imports their code, reads their secrets. Raises HookUnusable."""
    source = f"{tree.http.public_url or 'urn:tusd-py'}{tree.http.base_path}"
    return [
        registry.load(registry.HOOKS[part.kind])(part.settings, source=source)
        for part in tree.hooks
    ]


def build_gates(tree: Tree, hooks: Sequence[Hook], observer: Observer) -> Gates:
    asked: dict[Moment, list[tuple[str, Gate]]] = {}
    for hook in hooks:
        for moment, gate in hook.gates.items():
            asked.setdefault(moment, []).append((hook.name, gate))
    return Gates(asked, tree.upload.gate_seconds, observer)


@dataclass(frozen=True, slots=True)
class Engine:
    """Everything but the network: what servers and commands share."""

    tree: Tree
    store: ByteStore
    state: StateStore
    parts: Parts
    uploads: Uploads
    subscriptions: Mapping[str, Subscription]
    """By hook name: those that are told."""

    def sweeper(self) -> Sweeper:
        return Sweeper(self.parts)

    def dispatcher(self) -> Dispatcher:
        return Dispatcher(
            self.state,
            self.subscriptions,
            self.tree.outbox,
            now=time.time,
            dice=random.random,
            observer=self.parts.observer,
        )


async def tell_boot(store: ByteStore, machine: Machine) -> None:
    """Say beside the bytes what this machine runs now, under the name that it has now. Raises
    StoreError."""
    await store.publish_boot(machine.boot)
    for name in machine.other_names:
        await store.withdraw_boot(name)


@dataclass(frozen=True, slots=True)
class Plan:
    """All parts, made and not opened."""

    tree: Tree
    store: ByteStore
    state: StateStore
    hooks: Sequence[Hook]
    observer: Observer
    machine: Machine
    records_only: bool


def plan(tree: Tree, *, observer: Observer | None = None, records_only: bool = False) -> Plan:
    """Make all parts. Blocks (imports, secrets), so it is done before a loop runs.

    ``records_only``: for commands that look at records; no store is opened and no hook's code runs.
    """
    shares_state = registry.load(registry.STATES[tree.state.kind]).serves_many_hosts
    machine = this_machine(tree.process.host_name, is_one_of_many=shares_state)
    observer = SilentObserver() if observer is None else observer
    store = build_store(tree)
    state = build_state(tree, machine, store.durability)
    state.on_fault = observer.state_fault
    return Plan(
        tree=tree,
        store=store,
        state=state,
        hooks=[] if records_only else build_hooks(tree),
        observer=observer,
        machine=machine,
        records_only=records_only,
    )


@asynccontextmanager
async def open_engine(made: Plan) -> AsyncIterator[Engine]:
    """Store and state open, everything in between wired; closed in reverse."""
    tree, store, state = made.tree, made.store, made.state
    parts = Parts(
        state=state,
        store=store,
        gates=build_gates(tree, made.hooks, made.observer),
        settings=tree.upload,
        observer=made.observer,
        now=made.machine.now,
        randomness=token_bytes,
        destination=tree.store.settings.destination,
        limits=tree.limits,
        quotas=state,
    )
    async with AsyncExitStack() as stack:
        for hook in made.hooks:
            stack.push_async_callback(hook.close)
        if not made.records_only:
            await store.open()
            stack.push_async_callback(store.close)
            await tell_boot(store, made.machine)
        await state.open()
        stack.push_async_callback(state.close)
        yield Engine(tree, store, state, parts, Uploads(parts), _subscriptions(made.hooks))


def _subscriptions(hooks: Sequence[Hook]) -> dict[str, Subscription]:
    return {
        hook.name: Subscription(
            sink=hook.sink,
            events=hook.events,
            deadline_seconds=hook.deadline_seconds,
            concurrency=hook.concurrency,
        )
        for hook in hooks
        if hook.sink is not None
    }


def hook_names(tree: Tree) -> list[str]:
    return [part.settings.name for part in tree.hooks]


# ------------------------------------------------------------------ the network


class Watch:
    """What operators ask a running server: is it ready, and its figures."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics

    async def readiness(self) -> dict[str, bool]:
        """Each check, bounded in time. A receiver that is away does not make a server unready:
        its events wait."""
        return {
            "state": await _is_well(self._engine.state.ping()),
            "space": await _is_well(self._engine.store.has_space()),
        }

    async def page(self) -> tuple[bytes, str]:
        """The figures. What cannot be asked just now is left out rather than failing the page."""
        standing = await self._standing()
        return await asyncio.to_thread(self._metrics.render, standing), CONTENT_TYPE

    async def _standing(self) -> Standing:
        state = self._engine.state
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                return Standing(await state.counts(), await state.backlog(), await self._free())
        except (StateError, StoreError, TimeoutError, OSError) as exc:
            log.warning("figures_incomplete", extra={"reason": repr(exc)})
            return Standing()

    async def _free(self) -> int | None:
        root = getattr(self._engine.tree.store.settings, "root", None)
        if root is None:
            return None
        return (await asyncio.to_thread(shutil.disk_usage, root)).free


def site_parts(engine: Engine, access: Access, metrics: Metrics) -> "SiteParts":
    """What the edge is made of."""
    # Imported here, because commands that serve nothing need no web server.
    from tusd_py.web.reading import ReadingParts
    from tusd_py.web.site import SiteParts

    watch = Watch(engine, metrics)
    return SiteParts(
        uploads=engine.uploads,
        access=access,
        max_bytes=engine.tree.upload.max_bytes,
        expire_seconds=engine.tree.upload.expire_seconds,
        now=engine.parts.now,
        ready=watch.readiness,
        metrics=watch.page,
        answered=metrics.request_answered,
        reading=ReadingParts(
            observing=Observing(engine.parts),
            access=access,
            download=engine.tree.download,
            watch=engine.tree.watch,
            count=metrics.stream_ended,
        ),
    )


async def _is_well(check: Awaitable[bool | None]) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check is not False
    except (StateError, StoreError, TimeoutError) as exc:
        log.warning("check_failed", extra={"reason": repr(exc)})
        return False
