"""Short seeded runs of the kill test; ``make chaos`` is the long one."""

from pathlib import Path

import pytest

from tests.chaos import machines
from tests.chaos.run import Plan, prepared


@pytest.mark.parametrize("workers", [1, 2])
async def test_nothing_is_lost_when_the_server_is_killed_under_load(
    tmp_path: Path, workers: int
) -> None:
    """No acknowledged byte, file or completion, and none is told under two ids."""
    plan = Plan(seed=7 * workers, kills=6, seconds=14, workers=workers)
    async with prepared(plan, tmp_path) as chaos:
        summary = await chaos.run(print)
        print(summary)
    assert summary.kills >= 3 and summary.uploads > 5


@pytest.mark.timeout(240)
@pytest.mark.xdist_group("machines")  # one after the other: each keeps both processors busy
@pytest.mark.parametrize("flavour", ["sentinel", "cluster"])
async def test_nothing_is_lost_when_machines_and_redis_are_killed_under_load(
    tmp_path: Path, flavour: machines.Flavour
) -> None:
    """Three servers, and a Redis that fails over: every file is whole, every completion is told
    under one id, and no offset that was told went back. The two of them take more than a minute."""
    plan = Plan(seed=5, kills=50, seconds=32)
    async with machines.prepared(plan, flavour, tmp_path) as chaos:
        summary = await chaos.run(print)
        print(summary)
    assert summary.seconds >= plan.seconds and summary.uploads > 10
    assert summary.kills_of_redis >= 1 and summary.kills > summary.kills_of_redis
