"""Who is told of events in a bucket that was lost, and made anew by somebody who tells nobody."""

from collections.abc import AsyncIterator

import pytest

from tests.contract.redis_states import ServerRig
from tests.contract.states import an_event, an_upload, create_held, take
from tests.contract.test_outbox import claim, events_of
from tests.redis.records import make_rig
from tusd_py.core.events import EventKind
from tusd_py.core.upload import Upload
from tusd_py.state.redis.places import base_keys

CREATED, COMPLETED, TERMINATED = EventKind.CREATED, EventKind.COMPLETED, EventKind.TERMINATED


@pytest.fixture
async def rig() -> AsyncIterator[ServerRig]:
    async with make_rig() as made:
        yield made


async def lose_hooks(rig: ServerRig, upload: Upload) -> None:
    """As where Redis was emptied, and a command, or a server that starts, was there first."""
    base = base_keys(rig.settings)[int(upload.id[:2], 16) * rig.settings.buckets // 256]
    assert await rig.server.call("HDEL", f"{base}:meta", "hooks") == 1


async def test_no_event_of_a_bucket_that_has_forgotten_the_hooks_is_lost(rig: ServerRig) -> None:
    """The server that commits knows its hooks, however soon after the loss it commits."""
    state, upload = await rig.open(), an_upload()
    await state.register(["h", "i"])
    await lose_hooks(rig, upload)
    created = an_event(upload, CREATED)
    await state.create(upload, [created], with_lease=False)
    lease = (await take(state, upload)).lease
    await lose_hooks_again(rig, upload)
    await state.commit(lease, upload, [an_event(upload, COMPLETED)], release=True)
    lease = (await take(state, upload)).lease
    await lose_hooks_again(rig, upload)
    await state.remove(lease, [an_event(upload, TERMINATED)])
    for kind in (CREATED, COMPLETED, TERMINATED):
        for hook in ("h", "i"):
            (delivery,) = await claim(state, hook)
            assert delivery.event.kind is kind
            await state.settle([delivery])


async def lose_hooks_again(rig: ServerRig, upload: Upload) -> None:
    """Unless nobody has brought them back meanwhile."""
    base = base_keys(rig.settings)[int(upload.id[:2], 16) * rig.settings.buckets // 256]
    await rig.server.call("HDEL", f"{base}:meta", "hooks")


async def test_hooks_that_others_have_registered_stand(rig: ServerRig) -> None:
    """What a process that was there before knows is older."""
    old, new, upload = await rig.open(), await rig.open(), an_upload()
    await old.register(["h"])
    await new.register(["i"])
    lease = await create_held(old, upload)
    event = an_event(upload, COMPLETED)
    await old.commit(lease, upload, [event], release=True)
    assert events_of(await claim(new, "i")) == [event]
    assert await claim(new, "h") == []
    await new.register([])
    lease = (await take(old, upload)).lease
    await old.commit(lease, upload, [an_event(upload, TERMINATED)], release=True)
    assert await old.backlog() == {"i": 1}
