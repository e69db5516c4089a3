"""One process that works on a state file, for tests that kill it: ``python -m … ACT PATH NAME``.

It says each thing that is done in a line on standard output.
"""

import asyncio
import sys
import time
from dataclasses import replace
from pathlib import Path

from tests.contract.states import BOOT, an_event, an_upload, create_held
from tusd_py.core.events import EventKind
from tusd_py.state.base import StateStore
from tusd_py.state.sqlite import SqliteSettings, SqliteState

LONG_LEASE_SECONDS = 60.0


def boot_time() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def open_at(path: Path) -> SqliteState:
    """A state store by the real clock, whose leases outlast every test."""
    return SqliteState(
        SqliteSettings(path=path, busy_seconds=30.0),
        boot=BOOT,
        lease_seconds=LONG_LEASE_SECONDS,
        clock=boot_time,
    )


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def hold(state: StateStore, number: int) -> None:
    """Take a lease and a claim, and never let go."""
    await create_held(state, an_upload(number))
    await state.register(["h"])
    other = an_upload(number + 1)
    await state.create(other, [an_event(other)], with_lease=False)
    await state.claim("h", now=5000.0, claim_seconds=LONG_LEASE_SECONDS, limit=1)
    say("held")
    await asyncio.Event().wait()


async def answer(state: StateStore, number: int) -> None:
    """Hold a lease until somebody asks for it."""
    upload = an_upload(number)
    lease = await create_held(state, upload)
    say("held")
    await lease.asked.wait()
    await state.commit(lease, replace(upload, offset=42), release=True)
    say("let go")
    await asyncio.Event().wait()


async def commit(state: StateStore, number: int) -> None:
    """Commit higher and higher offsets of four uploads, each with an event, and say which."""
    await state.register(["h"])
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)

    async def one(upload_number: int) -> None:
        upload = an_upload(upload_number, length=None)
        lease = await create_held(state, upload)
        for offset in range(1, 1_000_000):
            event = an_event(upload, EventKind.INTERRUPTED, offset)
            await state.commit(lease, replace(upload, offset=offset), [event], release=False)
            say(f"{upload_number} {offset}")

    await asyncio.gather(*(one(number + n) for n in range(4)))


async def main(act: str, path: str, number: str) -> None:
    state = open_at(Path(path))
    await state.open()
    await {"hold": hold, "answer": answer, "commit": commit}[act](state, int(number))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
