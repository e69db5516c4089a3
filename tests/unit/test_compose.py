"""What the wiring itself decides: under which name a machine works, and who hears of it."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tusd_py import compose, config
from tusd_py.core.upload import Boot
from tusd_py.host import EMBEDDED_HOST, HostUnsupported
from tusd_py.state.sqlite import SqliteState
from tusd_py.stores.disk import DiskStore


def made(folder: Path, *, host_name: str = "none", records_only: bool = False) -> compose.Plan:
    flags = {"data-dir": str(folder), "process.host-name": host_name}
    tree = config.load(environment={}, flags=flags)
    return compose.plan(tree, records_only=records_only)


async def published(plan: compose.Plan) -> dict[str, str]:
    """What hosts say beside the bytes once the parts are open."""
    async with compose.open_engine(plan):
        files = (plan.tree.data_dir / "uploads" / "hosts").glob("*")
        said = [json.loads(file.read_text()) for file in files]
        return {one["host"]: one["boot_id"] for one in said}


@pytest.mark.parametrize("name", ["none", "node-1"])
async def test_a_machine_says_beside_the_bytes_what_it_runs(tmp_path: Path, name: str) -> None:
    """Whoever adopts its uploads needs it; a command that looks at records alone has no store."""
    looking = await asyncio.to_thread(made, tmp_path, host_name=name, records_only=True)
    assert await published(looking) == {}
    serving = await asyncio.to_thread(made, tmp_path, host_name=name)
    boot = serving.machine.boot
    assert boot.host == (EMBEDDED_HOST if name == "none" else name)
    assert await published(serving) == {boot.host: boot.boot_id}


@pytest.mark.parametrize("before", [EMBEDDED_HOST, "m-0123456789ab"])
async def test_what_a_machine_said_under_a_former_name_holds_no_longer(
    tmp_path: Path, before: str
) -> None:
    """It has restarted since, and nobody would ever say so under that name."""
    plan = await asyncio.to_thread(made, tmp_path, host_name="node-1")
    machine = replace(plan.machine, other_names=(EMBEDDED_HOST, "m-0123456789ab"))
    store = DiskStore(plan.tree.store.settings)
    await store.open()
    await store.publish_boot(Boot(before, "an earlier boot"))
    await store.publish_boot(Boot("node-2", "its boot"))
    await store.close()
    assert await published(replace(plan, machine=machine)) == {
        "node-1": machine.boot.boot_id,
        "node-2": "its boot",
    }


def test_a_state_of_many_hosts_wants_a_name_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of an embedded state will not do."""
    monkeypatch.setattr(SqliteState, "serves_many_hosts", True)
    with pytest.raises(HostUnsupported, match="host_name"):
        made(tmp_path, host_name=EMBEDDED_HOST)
    assert made(tmp_path, host_name="node-1").machine.boot.host == "node-1"
