"""What hosts say of themselves beside the bytes: every byte store, with every durability."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.stores import RIGS, Died, StoreRig, an_id
from tusd_py.core.ids import UploadId
from tusd_py.core.reconcile import Durability
from tusd_py.core.upload import Boot

HERE = Boot("host-a", "boot-1")
HOSTS = ["", ".", "..", "a/b", "../a", "a\0b", "node-1.example", "ä☃", "\udce9", "x" * 300]


@pytest.fixture(params=list(itertools.product(sorted(RIGS), Durability)), ids="-".join)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreRig]:
    kind, durability = request.param
    made = RIGS[kind](tmp_path, durability)
    await made.store.open()
    yield made
    await made.store.close()


async def test_a_host_that_said_nothing_has_no_boot(rig: StoreRig) -> None:
    """Also in a store where nobody ever said anything."""
    assert await rig.store.boot_of("host-a") is None
    assert not await rig.store.hosts_of("boot-1")
    await rig.store.publish_boot(HERE)
    assert await rig.store.boot_of("host-b") is None
    assert not await rig.store.hosts_of("boot-2")


async def test_every_reader_sees_what_a_host_said_last(rig: StoreRig) -> None:
    """A restart replaces the boot, and the one before it runs no more."""
    for boot_id in ("boot-1", "boot-2", "boot-2"):
        await rig.store.publish_boot(Boot("host-a", boot_id))
    other = rig.another()
    assert await other.boot_of("host-a") == "boot-2"
    assert list(await other.hosts_of("boot-2")) == ["host-a"]
    assert not await other.hosts_of("boot-1")
    await other.close()


async def test_hosts_are_told_apart_by_their_whole_names(rig: StoreRig) -> None:
    """Whatever characters are in them, and however many begin alike."""
    hosts = [*HOSTS, *(host.upper() + "!" for host in HOSTS), "x" * 299]
    for number, host in enumerate(hosts):
        await rig.store.publish_boot(Boot(host, f"boot-{number}"))
    for number, host in enumerate(hosts):
        assert await rig.store.boot_of(host) == f"boot-{number}"
        assert list(await rig.store.hosts_of(f"boot-{number}")) == [host]


async def test_a_boot_is_known_by_all_names_it_has(rig: StoreRig) -> None:
    """A machine that was called otherwise before, or several servers of one machine."""
    for host in ("local", "host-b"):
        await rig.store.publish_boot(Boot(host, "boot-1"))
    await rig.store.publish_boot(Boot("other", "boot-9"))
    assert sorted(await rig.store.hosts_of("boot-1")) == ["host-b", "local"]
    await rig.store.publish_boot(Boot("host-b", "boot-2"))
    assert list(await rig.store.hosts_of("boot-1")) == ["local"]
    assert list(await rig.store.hosts_of("boot-2")) == ["host-b"]


async def test_what_is_withdrawn_holds_no_longer(rig: StoreRig) -> None:
    """Also twice, and where nothing was ever said."""
    await rig.store.withdraw_boot("host-a")
    await rig.store.publish_boot(HERE)
    await rig.store.publish_boot(Boot("other", "boot-9"))
    for _ in range(2):
        await rig.store.withdraw_boot("host-a")
        assert await rig.another().boot_of("host-a") is None
        assert not await rig.store.hosts_of("boot-1")
    assert await rig.store.boot_of("other") == "boot-9"


async def test_many_that_say_it_at_once_all_come_through(rig: StoreRig) -> None:
    """Hosts with several processes each, over one store."""
    others = [rig.another() for _ in range(3)]
    boots = [Boot(f"host-{number}", f"boot-{number}") for number in range(8)]
    await asyncio.gather(*(store.publish_boot(b) for store in [rig.store, *others] for b in boots))
    for boot in boots:
        assert await rig.store.boot_of(boot.host) == boot.boot_id
    for store in others:
        await store.close()


async def test_a_host_that_dies_while_it_says_it_has_said_it_or_not(rig: StoreRig) -> None:
    """Whatever change of the medium was its last; and the next start says it."""
    await rig.store.publish_boot(HERE)
    boot = HERE
    for number in itertools.count():
        boot = Boot("host-a", f"boot-{number + 2}")
        before = await rig.store.boot_of("host-a")
        try:
            with rig.dying_at(number):
                await rig.store.publish_boot(boot)
        except Died:
            assert await rig.another().boot_of("host-a") in (before, boot.boot_id)
        else:
            break
    assert boot.boot_id != "boot-2" and await rig.store.boot_of("host-a") == boot.boot_id


async def test_the_walk_leaves_hosts_alone(rig: StoreRig) -> None:
    """They are no uploads, and no orphans however old."""
    await rig.complete(b"0123")
    await rig.store.publish_boot(HERE)
    cursor, found = None, list[UploadId]()
    while True:
        page = await rig.store.walk(cursor, orphan_age_seconds=-1e9)
        assert not page.orphans
        found += page.upload_ids
        if (cursor := page.cursor) is None:
            break
    assert found == [an_id()]
    assert await rig.store.boot_of(HERE.host) == HERE.boot_id


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(host=st.text(st.characters(), max_size=80), boot_id=st.text(min_size=1, max_size=80))
async def test_any_name_comes_back_as_it_was(rig: StoreRig, host: str, boot_id: str) -> None:
    """Names are an operator's, ids the kernel's: neither becomes a path as it is."""
    await rig.store.publish_boot(Boot(host, boot_id))
    assert await rig.store.boot_of(host) == boot_id
