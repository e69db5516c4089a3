"""What is moved into Redis comes in batches: nothing gets lost between two of them."""

import pytest

from tests.contract.states import an_event, an_upload
from tests.contract.test_moving import dumped, restore, tally
from tests.redis.records import make_rig
from tusd_py.core.events import EventKind
from tusd_py.state.redis import moving


@pytest.mark.parametrize("taken_at_once", [1, 2, 3, 5])
async def test_deliveries_of_one_event_come_whole_wherever_a_batch_ends(
    taken_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the next batch has of an event that is there already would be taken for a repetition."""
    async with make_rig() as rig:
        source = await rig.open()
        await source.register(["g", "h", "i"])
        for number in range(3):
            upload = an_upload(number)
            events = [an_event(upload, EventKind.CREATED), an_event(upload, EventKind.COMPLETED, 1)]
            await source.create(upload, events, with_lease=False)
        pieces = await dumped(source)
    monkeypatch.setattr(moving, "TAKEN_AT_ONCE", taken_at_once)
    async with make_rig() as rig:
        target = await rig.open()
        await restore(target, pieces)
        assert tally(await dumped(target)).differences(tally(pieces)) == []
        assert await target.backlog() == {"g": 6, "h": 6, "i": 6}
