"""The rig of the tests of this folder."""

from collections.abc import AsyncIterator

import pytest

from tests.support.wire import Wire
from tests.unit.web.rig import Rig, running


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with running(
        refusal_drain_seconds=1.0, body_idle_seconds=30.0, refusal_drain_bytes=65536
    ) as rig:
        yield rig


@pytest.fixture
async def wire(rig: Rig) -> Wire:
    return await rig.wire()
