"""Several machines over one directory of bytes, and a state that is lost as a whole.

The state that comes after it has heard of nobody but the machine that opened it.
"""

from pathlib import Path

import pytest

from tests.service.world import World, a_world
from tusd_py.core.ids import UploadId
from tusd_py.core.reconcile import Durability
from tusd_py.core.upload import Boot

pytestmark = pytest.mark.usefixtures("each_state")

CONTENT = b"0123456789"


async def half_an_upload(world: World) -> UploadId:
    upload = await world.create(len(CONTENT))
    await world.append(upload.id, 0, CONTENT[:4])
    return upload.id


async def restart(world: World, boot_number: int) -> None:
    """The machine restarts, and the server on it starts."""
    await world.kill()
    world.boot_number = boot_number
    await world.start()


async def lose_state_to(world: World, host: str) -> None:
    """The state is gone; the first that is seen of a new one is this machine."""
    await world.kill()
    world.host = host
    await world.lose_state()


@pytest.mark.parametrize("durability", list(Durability))
async def test_bytes_of_a_machine_that_lives_outlive_the_state(
    tmp_path: Path, durability: Durability
) -> None:
    """[host-boot] Another machine adopts the upload, and has not heard of its writer: the bytes
    that were acknowledged are there, for the writer's machine has not restarted."""
    async with a_world(tmp_path, durability=durability) as world:
        upload_id = await half_an_upload(world)
        await lose_state_to(world, "there")
        assert (await world.head(upload_id)).offset == 4
        done = await world.append(upload_id, 4, CONTENT[4:])
        assert done.is_complete and world.content(upload_id) == CONTENT


@pytest.mark.parametrize("durability", list(Durability))
async def test_adopt_boot_bytes_of_a_machine_that_restarted_are_not_believed(
    tmp_path: Path, durability: Durability
) -> None:
    """[adopt-boot] Nobody knows which of them reached the medium."""
    async with a_world(tmp_path, durability=durability) as world:
        upload_id = await half_an_upload(world)
        await restart(world, boot_number=2)
        await lose_state_to(world, "there")
        assert (await world.head(upload_id)).offset == 0
        done = await world.append(upload_id, 0, CONTENT)
        assert done.is_complete and world.content(upload_id) == CONTENT


async def test_what_the_state_says_of_a_host_counts_more_than_what_lies_beside_the_bytes(
    tmp_path: Path,
) -> None:
    """A host that cannot write beside the bytes any more has told the state."""
    async with a_world(tmp_path) as world:
        upload_id = await half_an_upload(world)
        earlier = world.state.boot
        await restart(world, boot_number=2)
        await world.lose_state()
        await world.store.publish_boot(earlier)
        assert (await world.head(upload_id)).offset == 0


async def test_a_boot_that_the_state_has_forgotten_counts_where_it_lies_beside_the_bytes(
    tmp_path: Path,
) -> None:
    """[host-boot] A fail-over took the state back to before the host restarted."""
    async with a_world(tmp_path) as world:
        upload_id = await half_an_upload(world)
        await world.kill()
        await world.lose_state()
        await world.store.publish_boot(Boot(world.state.boot.host, "a later boot"))
        assert (await world.head(upload_id)).offset == 0


async def test_bytes_of_a_host_that_nobody_heard_of_are_not_believed(tmp_path: Path) -> None:
    """The store says nothing of it either."""
    async with a_world(tmp_path) as world:
        upload_id = await half_an_upload(world)
        for file in (tmp_path / "uploads" / "hosts").iterdir():
            file.unlink()
        await lose_state_to(world, "there")
        assert (await world.head(upload_id)).offset == 0


async def test_a_machine_under_another_name_is_known_by_its_boot(tmp_path: Path) -> None:
    """An embedded state has no name for its machine: what was written then is believed where
    the same run of the machine has a name now, and not where it has restarted."""
    async with a_world(tmp_path) as world:
        upload_id = await half_an_upload(world)
        boot_id = world.state.boot.boot_id
        for file in (tmp_path / "uploads" / "hosts").iterdir():
            file.unlink()
        await lose_state_to(world, "there")
        await world.store.publish_boot(Boot("named-now", boot_id))
        assert (await world.head(upload_id)).offset == 4
        await world.store.publish_boot(Boot("named-now", "a later boot"))
        await lose_state_to(world, "elsewhere")
        assert (await world.head(upload_id)).offset == 0
