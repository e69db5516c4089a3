"""What the wiring itself decides: under which name a machine works, and who hears of it."""

import asyncio
import json
from pathlib import Path

import pytest

from tusd_py import compose, config
from tusd_py.host import EMBEDDED_HOST, HostUnsupported
from tusd_py.state.sqlite import SqliteState


def made(folder: Path, *, host_name: str = "none", records_only: bool = False) -> compose.Plan:
    flags = {"data-dir": str(folder), "process.host-name": host_name}
    tree = config.load(environment={}, flags=flags)
    return compose.plan(tree, records_only=records_only)


async def published(plan: compose.Plan) -> list[str]:
    """What is said beside the bytes once the parts are open."""
    async with compose.open_engine(plan):
        hosts = plan.tree.data_dir / "uploads" / "hosts"
        return [json.loads(file.read_text())["boot_id"] for file in hosts.glob("*")]


async def test_a_machine_with_a_name_says_beside_the_bytes_what_it_runs(tmp_path: Path) -> None:
    """Whoever adopts its uploads needs it; a command that looks at records alone has no store."""
    looking = await asyncio.to_thread(made, tmp_path, host_name="node-1", records_only=True)
    assert await published(looking) == []
    serving = await asyncio.to_thread(made, tmp_path, host_name="node-1")
    assert await published(serving) == [serving.machine.boot.boot_id]


async def test_a_machine_that_is_called_as_any_other_says_nothing(tmp_path: Path) -> None:
    """Two of them would take each other's restarts for their own."""
    plan = await asyncio.to_thread(made, tmp_path)
    assert plan.machine.boot.host == EMBEDDED_HOST
    assert await published(plan) == []


def test_a_state_of_many_hosts_wants_a_name_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of an embedded state will not do."""
    monkeypatch.setattr(SqliteState, "serves_many_hosts", True)
    with pytest.raises(HostUnsupported, match="host_name"):
        made(tmp_path, host_name=EMBEDDED_HOST)
    assert made(tmp_path, host_name="node-1").machine.boot.host == "node-1"
