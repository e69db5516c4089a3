"""A short seeded run of the kill test; ``make chaos`` is the long one."""

from pathlib import Path

import pytest

from tests.chaos.run import Plan, prepared


@pytest.mark.parametrize("workers", [1, 2])
async def test_nothing_is_lost_when_the_server_is_killed_under_load(
    tmp_path: Path, workers: int
) -> None:
    """No acknowledged byte, file or completion, and none is told under two ids."""
    plan = Plan(seed=7 * workers, kills=9, seconds=20, workers=workers)
    async with prepared(plan, tmp_path) as chaos:
        summary = await chaos.run(print)
        print(summary)
    assert summary.kills >= 3 and summary.uploads > 5
