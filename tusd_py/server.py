"""One serving process: starts its parts in order, serves, stops them in reverse.

Start: keys, store, state, outbox, background work, the listening socket, the ready line. A signal
(SIGTERM, SIGINT, SIGHUP without a supervisor, or the supervisor's death) stops it: no new uploads,
running bodies end with what has arrived committed, hooks get a bounded time; exit 0 within
``process.stop_seconds``. A second signal ends the process at once, with exit 1.

Background work that dies of something unforeseen is logged and started again, later each time.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from prometheus_client import disable_created_metrics

from tusd_py import compose
from tusd_py.announce import Announcement
from tusd_py.auth.keys import KeyUnusable
from tusd_py.config import Collected, ConfigError, Tree, build
from tusd_py.hooks.kinds import HookUnusable
from tusd_py.host import HostUnsupported
from tusd_py.logs import configure_logs
from tusd_py.metrics import Metrics
from tusd_py.service.access import Access
from tusd_py.service.outbox import Dispatcher
from tusd_py.state.base import StateError
from tusd_py.stores.base import StoreError
from tusd_py.web.request_id import present_request_id
from tusd_py.web.site import Site, SiteParts, start_site

log = logging.getLogger("tusd_py.server")  # not __main__, which a worker's module is called

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_CONFIGURATION: Final = 3
EXIT_UNAVAILABLE: Final = 5
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 60.0
REQUEST_SHARE: Final = 0.7
"""Of the time to stop, for requests and hooks; then the rest for what goes on behind answers,
and for closing store and state."""
DRAIN_SHARE: Final = 0.15
LAST_SHARE: Final = 0.95
"""Of the time to stop: whatever still runs then ends with the process."""
MAX_HANDED_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Made:
    """What was made before the loop runs, because that blocks."""

    plan: compose.Plan
    access: Access
    metrics: Metrics


def run(
    tree: Tree,
    *,
    announcement: Announcement,
    listen_fd: int | None = None,
    parent_fd: int | None = None,
) -> int:
    """Serve until told to stop; the exit code. Raises what keeps it from starting: ConfigError,
    KeyUnusable, HookUnusable, HostUnsupported, StoreError, StateError."""
    configure_logs(tree.log, request_id=present_request_id)
    # Twice the page, for nothing that the samples do not say.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    metrics = Metrics(compose.hook_names(tree))
    made = Made(compose.plan(tree, observer=metrics), compose.build_access(tree), metrics)
    with asyncio.Runner(loop_factory=_loop_factory(tree.process.uvloop)) as runner:
        return runner.run(_serve(made, announcement, listen_fd, parent_fd))


def _loop_factory(wanted: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if wanted == "off":
        return None
    try:
        import uvloop
    except ImportError as exc:
        if wanted == "on":
            sentence = "[process] uvloop is on, but it is not installed"
            raise ConfigError([sentence]) from exc
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _serve(
    made: Made, announcement: Announcement, listen_fd: int | None, parent_fd: int | None
) -> int:
    stop = StopSignal()
    stop.listen(parent_fd)
    tree = made.plan.tree
    async with compose.open_engine(made.plan) as engine:
        await engine.state.register(list(engine.subscriptions))
        async with _background(engine) as background:
            parts = compose.site_parts(engine, made.access, made.metrics)
            site = await _start_site(parts, tree, listen_fd)
            log.info("serving", extra={"host": tree.http.host, "port": site.port})
            announcement.tell(host=tree.http.host, port=site.port, path=tree.http.base_path)
            await stop.wait()
            log.info("stopping", extra={"why": stop.reason})
            _end_in_time(tree.process.stop_seconds * LAST_SHARE)
            await _stop(site, engine, background, tree.process.stop_seconds)
    log.info("stopped")
    return EXIT_OK


async def _start_site(parts: SiteParts, tree: Tree, listen_fd: int | None) -> Site:
    listener = None if listen_fd is None else socket.socket(fileno=listen_fd)
    try:
        return await start_site(parts, tree.http, listener)
    except OSError as exc:
        where = f"{tree.http.host}:{tree.http.port}"
        raise ConfigError([f"cannot listen on {where}: {os.strerror(exc.errno or 0)}"]) from exc


class StopSignal:
    """The first reason to stop. The second signal ends the process on the spot."""

    def __init__(self) -> None:
        self._told = asyncio.Event()
        self.reason = ""

    def listen(self, parent_fd: int | None) -> None:
        """Signals, and the end of the supervisor, which shows as the end of a pipe."""
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGTERM]
        if parent_fd is None:
            numbers += [signal.SIGINT, signal.SIGHUP]
        else:
            # A terminal sends these to the whole group; the supervisor decides what they mean.
            for number in (signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            loop.add_reader(parent_fd, self._on_parent_gone, parent_fd)
        for number in numbers:
            loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._told.is_set():
            log.warning("stopped_at_once", extra={"why": number.name})
            # Leases are not let go and hooks are not told: what a crash does, and harms as little.
            os._exit(EXIT_FAILED)
        self.reason = number.name
        self._told.set()

    def _on_parent_gone(self, parent_fd: int) -> None:
        asyncio.get_running_loop().remove_reader(parent_fd)
        self.reason = self.reason or "supervisor_gone"
        self._told.set()

    async def wait(self) -> None:
        await self._told.wait()


def _end_in_time(seconds: float) -> None:
    """The process has ended by then, whatever hangs: a hook that does not let itself be cancelled,
    a thread on a disk that does not answer. Cut off is what a crash would cut off."""

    def end() -> None:
        log.error("stop_forced", extra={"seconds": seconds})
        os._exit(EXIT_OK)

    # A daemon's: it lives on while the interpreter waits for other threads, and holds up nothing.
    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


async def _stop(
    site: Site, engine: compose.Engine, background: "Background", seconds: float
) -> None:
    """Within ``seconds``, whatever hangs: what is cut off then is what a crash would cut off.

    Bodies end at once and their requests are answered; what takes time are gates that are being
    asked and hooks that are being told.
    """
    try:
        async with asyncio.timeout(seconds * REQUEST_SHARE), asyncio.TaskGroup() as group:
            group.create_task(site.stop(seconds * REQUEST_SHARE * 0.7))
            group.create_task(background.stop(seconds * REQUEST_SHARE * 0.7))
        async with asyncio.timeout(seconds * DRAIN_SHARE):
            await engine.uploads.drain()
    except TimeoutError:
        log.warning("stop_cut_short", extra={"seconds": seconds})


@asynccontextmanager
async def _background(engine: compose.Engine) -> AsyncIterator["Background"]:
    """Sweeper and dispatcher while the context lasts; they are cancelled and waited for."""
    background = Background(engine)
    # No TaskGroup: it would wrap what fails in the body, and these two fail in no way of their own.
    tasks = [
        asyncio.create_task(keep_alive("sweeper", background.sweep)),
        asyncio.create_task(keep_alive("dispatcher", background.dispatch)),
    ]
    try:
        yield background
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


class Background:
    """What runs beside the requests, made anew each time it is started."""

    def __init__(self, engine: compose.Engine) -> None:
        self._engine = engine
        self._dispatcher: Dispatcher | None = None
        self._is_stopping = False

    async def sweep(self) -> None:
        await self._engine.sweeper().run()

    async def dispatch(self) -> None:
        if not self._is_stopping:
            self._dispatcher = self._engine.dispatcher()
            await self._dispatcher.run()

    async def stop(self, seconds: float) -> None:
        """Deliveries that run get ``seconds`` to end; no other begins."""
        self._is_stopping = True
        if self._dispatcher is not None:
            await self._dispatcher.stop(seconds)


async def keep_alive(
    name: str,
    work: Callable[[], Awaitable[None]],
    *,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Run ``work`` until it returns. What it knows it handles itself; after any other error it is
    started again, later each time, because serving without it beats not serving."""
    clock = asyncio.get_running_loop().time
    seconds = FIRST_PAUSE_SECONDS
    while True:
        began = clock()
        try:
            return await work()
        except Exception:
            if clock() - began > LONGEST_PAUSE_SECONDS:
                seconds = FIRST_PAUSE_SECONDS
            log.exception("background_died", extra={"task": name, "again_in_seconds": seconds})
        await pause(seconds)
        seconds = min(2 * seconds, LONGEST_PAUSE_SECONDS)


def read_handed(fd: int) -> Tree:
    """The settings that the command line resolved; several processes read the same descriptor."""
    return build(Collected.from_json(os.pread(fd, MAX_HANDED_BYTES, 0).decode()))


def main(arguments: list[str]) -> int:
    """A worker: ``--settings-fd N --listen-fd N --ready-fd N --parent-fd N``."""
    fds = dict(zip(arguments[::2], map(int, arguments[1::2]), strict=True))
    tree = read_handed(fds["--settings-fd"])
    try:
        return run(
            tree,
            announcement=Announcement(ready_fd=fds["--ready-fd"]),
            listen_fd=fds["--listen-fd"],
            parent_fd=fds["--parent-fd"],
        )
    except (ConfigError, KeyUnusable, HookUnusable, HostUnsupported) as exc:
        log.error("start_failed", extra={"reason": str(exc)})
        return EXIT_CONFIGURATION
    except (StateError, StoreError) as exc:
        log.error("start_failed", extra={"reason": str(exc)})
        return EXIT_UNAVAILABLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
