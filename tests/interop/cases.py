"""What is done to a client, and what has to come of it, whichever client it is.

Each case is a function of a place, a client and the way it is to use; its docstring is what the
table says of a client that passed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Final

from tests.e2e.rig import MIB, until
from tests.interop.clients import Client, Options, PageClient
from tests.interop.place import LARGE_BYTES, SMALL_BYTES, Place
from tests.support import tus
from tests.support.browser import running_suite
from tests.support.clients import ClientRun
from tests.support.relay import Cut, Fault
from tests.support.server import serving

SLOW: Final = 8 * MIB
"""Bytes a second on a line where something shall happen in mid-body."""
WAIT_SECONDS: Final = 15.0
GIVEN_UP_SECONDS: Final = 8.0
"""A client that has not ended by then hangs."""
LOST_BYTES: Final = MIB
"""What may lie unread in the server's socket when a line breaks hard; it is sent again."""


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """How a client is asked to upload."""

    name: str
    options: Options = field(default_factory=dict)
    bearer: bool = False
    """The token is in a header of each request, not in the metadata."""
    uploads: int = 1
    """How many uploads on the server belong to it."""
    first_cut: int = MIB
    """After so many bytes the line is cut for the first time."""
    lines: int = 1
    """How many requests carry the file at once."""
    lost_bytes: int = LOST_BYTES
    """How much a break may lose of one request."""


Case = Callable[[Place, Client, Way], Awaitable[None]]


async def small(place: Place, client: Client, way: Way) -> None:
    """uploads a small file"""
    await _upload(place, client, way, SMALL_BYTES)


async def large(place: Place, client: Client, way: Way) -> None:
    """uploads several megabytes"""
    await _upload(place, client, way, LARGE_BYTES)


async def cut_by_fin(place: Place, client: Client, way: Way) -> None:
    """resumes after two orderly cuts in mid-body"""
    await _cut_twice(place, client, way, Cut.FIN)


async def cut_by_rst(place: Place, client: Client, way: Way) -> None:
    """resumes after two resets in mid-body"""
    await _cut_twice(place, client, way, Cut.RST)


async def killed(place: Place, client: Client, way: Way) -> None:
    """resumes after an outage in which the server was killed"""
    await _outage(place, client, way, kill=True)


async def stopped(place: Place, client: Client, way: Way) -> None:
    """resumes after an outage in which the server was restarted"""
    await _outage(place, client, way, kill=False)


async def lost_answer(place: Place, client: Client, way: Way) -> None:
    """learns that it is finished when the last answer was lost"""
    run = await lose_last_answer(place, client, way)
    resent = LARGE_BYTES if client.resends else 0
    await place.judge(run, LARGE_BYTES, uploads=way.uploads, twice=resent)


async def another_run(place: Place, client: Client, way: Way) -> None:
    """killed in mid-body, goes on in another run"""
    place.relay.default = Fault(bytes_per_second=SLOW)
    order = place.order(LARGE_BYTES, bearer=way.bearer)
    async with client.running(order, way.options) as first:
        await while_it_runs(first, place.relay.passed(2 * MIB))
        # Not one byte more: some line still holds what the client has sent.
        place.relay.default = Fault(stall_after=1)
        place.relay.stall_all()
        await until(lambda: place.stored_bytes >= MIB)
        await first.kill()
    place.relay.default = Fault()
    again = place.order(LARGE_BYTES, bearer=way.bearer, previous=first)
    async with client.running(again, way.options) as second:
        await second.wait()
    await _judge_resumed(place, client, way, second, first)


async def exact_border(place: Place, client: Client, way: Way) -> None:
    """uploads what ends exactly where a chunk ends"""
    size = 2 * MIB
    async with client.running(place.order(size, bearer=way.bearer), way.options) as run:
        await run.wait(seconds=GIVEN_UP_SECONDS)
    await place.judge(run, size, uploads=way.uploads)


async def terminate(place: Place, client: Client, way: Way) -> None:
    """deletes the upload in mid-body"""
    place.relay.default = Fault(bytes_per_second=SLOW)
    async with client.running(place.order(LARGE_BYTES, bearer=way.bearer), way.options) as run:
        if client.takes_commands:
            await while_it_runs(run, place.relay.passed(MIB))
            await run.command("cancel")
        else:
            await run.wait()
        await until(lambda: place.facts == [])
        url = run.url
    assert run.error is None and not run.succeeded, run.story()
    assert url is not None, run.story()
    assert (await tus.head(url)).status == 404


async def pause(place: Place, client: Client, way: Way) -> None:
    """pauses and goes on"""
    place.relay.default = Fault(bytes_per_second=SLOW)
    async with client.running(place.order(LARGE_BYTES, bearer=way.bearer), way.options) as run:
        await while_it_runs(run, place.relay.passed(MIB))
        await run.command("pause")
        # The line still holds what it took before; it reaches the server or is lost with it.
        await until(lambda: place.stored_bytes >= MIB // 2)
        place.relay.default = Fault()
        await run.command("resume")
        await run.wait()
    await _judge_resumed(place, client, way, run)


async def own_suite(place: Place, client: Client, way: Way) -> None:
    """passes the end-to-end tests that its package brings along"""
    assert isinstance(client, PageClient)
    profile = place.directory / "suite"
    open_to_all = {"auth": {"mode": "off"}}
    async with (
        serving(place.directory / "open", open_to_all) as server,
        running_suite(client.major, server.endpoint, profile) as run,
    ):
        await run.wait()
    specs = [event for event in run.events if event["event"] == "spec"]
    assert len(specs) >= 2 and all(one["status"] == "passed" for one in specs), run.story()
    assert {"event": "done", "status": "passed"} in run.events, run.story()


async def offline(place: Place, client: Client, way: Way) -> None:
    """waits while the browser is offline, then goes on"""
    place.relay.default = Fault(bytes_per_second=SLOW)
    async with client.running(place.order(LARGE_BYTES, bearer=way.bearer), way.options) as run:
        await while_it_runs(run, place.relay.passed(MIB))
        await run.command("offline")
        await place.relay.go_down()
        await place.relay.come_back()
        place.relay.default = Fault()
        await run.command("online")
        await run.wait()
    await _judge_resumed(place, client, way, run)


async def reload(place: Place, client: Client, way: Way) -> None:
    """goes on after the page was reloaded and the file chosen again"""
    await _reopen(place, client, way, "reload")


async def restore(place: Place, client: Client, way: Way) -> None:
    """goes on after the page was reloaded, the file restored by the golden retriever"""
    await _reopen(place, client, way, "restore")


# ------------------------------------------------------------------ doing


async def while_it_runs(run: ClientRun, waiting: Coroutine[None, None, object]) -> None:
    """Wait for something; fail with the client's story if it ends before or nothing comes."""
    happening = asyncio.create_task(waiting)
    ending = asyncio.create_task(run.saw("end"))
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await asyncio.wait((happening, ending), return_when=asyncio.FIRST_COMPLETED)
        assert happening.done(), f"it ended before its time\n{run.story()}"
    except TimeoutError:
        raise AssertionError(f"{WAIT_SECONDS} s, and nothing happened\n{run.story()}") from None
    finally:
        for task in (happening, ending):
            task.cancel()
        await asyncio.gather(happening, ending, return_exceptions=True)


async def lose_last_answer(place: Place, client: Client, way: Way) -> ClientRun:
    """Cut at the first byte of the answer to the last byte of the file."""
    place.relay.default = Fault(lose_answer_after=LARGE_BYTES)

    def is_lost() -> bool:
        return any(
            one.bytes_up >= LARGE_BYTES and one.closed.is_set() for one in place.relay.connections
        )

    async with client.running(place.order(LARGE_BYTES, bearer=way.bearer), way.options) as run:
        await while_it_runs(run, until(is_lost))
        place.relay.default = Fault()
        return await run.wait()


async def _upload(place: Place, client: Client, way: Way, size: int) -> None:
    async with client.running(place.order(size, bearer=way.bearer), way.options) as run:
        await run.wait()
    await place.judge(run, size, uploads=way.uploads)


async def _cut_twice(place: Place, client: Client, way: Way, how: Cut) -> None:
    # The creation has a connection of its own or shares one, so cuts count over all of them.
    place.relay.default = Fault(bytes_per_second=SLOW)
    place.relay.cut_all_after(way.first_cut, how)
    async with client.running(place.order(LARGE_BYTES, bearer=way.bearer), way.options) as run:
        await while_it_runs(run, until(lambda: place.relay.left_before_cut is None))
        place.relay.cut_all_after(MIB, how)
        await run.wait()
    assert place.relay.left_before_cut is None, f"there was no second cut\n{run.story()}"
    await _judge_resumed(place, client, way, run, breaks=2)


async def _outage(place: Place, client: Client, way: Way, *, kill: bool) -> None:
    place.relay.default = Fault(bytes_per_second=SLOW)
    async with client.running(place.order(LARGE_BYTES, bearer=way.bearer), way.options) as run:
        await while_it_runs(run, place.relay.passed(2 * MIB))
        await until(lambda: place.stored_bytes >= MIB)
        await place.relay.go_down()
        await place.server.restart(kill=kill)
        place.relay.default = Fault()
        await place.relay.come_back()
        await run.wait()
    await _judge_resumed(place, client, way, run)


async def _reopen(place: Place, client: Client, way: Way, command: str) -> None:
    # Slower, for the page has to store what it knows before it is left.
    place.relay.default = Fault(bytes_per_second=MIB)
    async with client.running(place.order(LARGE_BYTES, bearer=way.bearer), way.options) as run:
        await while_it_runs(run, place.relay.passed(MIB))
        await run.command(command)
        place.relay.default = Fault()
        await run.wait()
    await _judge_resumed(place, client, way, run)


async def _judge_resumed(
    place: Place, client: Client, way: Way, run: ClientRun, *before: ClientRun, breaks: int = 1
) -> None:
    """It went on from what the server had."""
    resent = LARGE_BYTES if client.resends else way.lost_bytes
    twice = breaks * way.lines * resent
    await place.judge(run, LARGE_BYTES, uploads=way.uploads, twice=twice)
    patches = [sent for one in (*before, run) for sent in one.of("PATCH")]
    if way.lines == 1:
        # Where requests are told; the count of bytes says it of the others.
        assert all(sent.offset for sent in patches[1:]), run.story()
