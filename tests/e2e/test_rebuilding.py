"""Redis has lost everything: records are made anew by a command, beside servers or without them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.installations import lose_state, many
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
from tests.support.fleet import Fleet
from tests.support.receiver import Receiver, receiving
from tests.support.server import Server

DATA = content(200 * KIB)
HALF = 1000


async def halves(fleet: Fleet) -> dict[str, Server]:
    """One unfinished upload for each machine, by the machine that took its bytes."""
    made: dict[str, Server] = {}
    for machine in fleet.machines:
        url = await created(fleet, len(DATA))
        answer = await tus.patch(fleet.through(machine, url), 0, DATA[:HALF])
        assert (answer.status, answer.offset) == (204, HALF)
        made[url] = machine
    return made


async def rebuild(machine: Server) -> dict[str, Any]:
    code, out, err = await command(machine, "state", "rebuild", "--json")
    assert code == 0, err
    told: dict[str, Any] = json.loads(out)
    return told


async def all_go_on(fleet: Fleet, receiver: Receiver, made: dict[str, Server]) -> None:
    """At another machine than before, from where they were; each is told under one id."""
    for url, machine in made.items():
        number = fleet.machines.index(machine)
        other = fleet.machines[(number + 1) % len(fleet.machines)]
        there = fleet.through(other, url)
        assert (await head_until_200(there)).offset == HALF
        done = await tus.patch(there, HALF, DATA[HALF:])
        assert (done.status, done.offset) == (204, len(DATA)), done.text
        await receiver.told(upload_id(url), "upload.completed")
        assert stored_bytes(fleet, url) == DATA
        assert len(completion_ids(receiver, url)) == 1


@pytest.mark.parametrize("ends", ["stopped", "killed"])
async def test_records_are_made_anew_before_the_servers_start(tmp_path: Path, ends: str) -> None:
    """By one of the machines, for all of them: none has restarted, so that nothing that was
    acknowledged is lost."""
    async with receiving() as receiver, many(tmp_path, hooked(tmp_path, receiver)) as fleet:
        made = await halves(fleet)
        done = await finished(fleet, DATA)
        await receiver.told(upload_id(done), "upload.completed")
        await (fleet.stop() if ends == "stopped" else fleet.kill9())
        await lose_state(fleet)
        told = await rebuild(fleet.machines[2])
        assert told == {"uploads": len(made) + 1, "adopted": len(made) + 1, "failed": []}
        await fleet.start()
        await all_go_on(fleet, receiver, made)
        await receiver.until(lambda r: len(r.of(upload_id(done), "upload.completed")) == 2)
        assert len(completion_ids(receiver, done)) == 1


async def test_records_are_made_anew_while_the_servers_run(tmp_path: Path) -> None:
    """Whoever of them comes first adopts an upload; nobody disturbs another."""
    async with receiving() as receiver, many(tmp_path, hooked(tmp_path, receiver)) as fleet:
        made = await halves(fleet)
        done = await finished(fleet, DATA)
        await receiver.told(upload_id(done), "upload.completed")
        await lose_state(fleet)
        told = await rebuild(fleet.machines[1])
        assert (told["uploads"], told["failed"]) == (len(made) + 1, [])
        await all_go_on(fleet, receiver, made)
        await receiver.until(lambda r: len(r.of(upload_id(done), "upload.completed")) == 2)
        assert len(completion_ids(receiver, done)) == 1
        assert (await rebuild(fleet.machines[0]))["adopted"] == 0
