"""The files in which hosts say what they run, where the medium or somebody else spoils them."""

import errno
import json
import os
from pathlib import Path
from unittest.mock import patch

import pytest

from tusd_py.core.upload import Boot
from tusd_py.stores.base import StoreError
from tusd_py.stores.disk import DiskSettings, DiskStore

HERE = Boot("node-1.example", "boot-1")


@pytest.fixture
async def store(tmp_path: Path) -> DiskStore:
    made = DiskStore(DiskSettings(root=tmp_path, min_free_bytes=0))
    await made.open()
    return made


def the_file(folder: Path) -> Path:
    (found,) = (folder / "hosts").iterdir()
    return found


async def test_an_operator_can_read_it(store: DiskStore, tmp_path: Path) -> None:
    """As ``conf/layout.md`` says."""
    await store.publish_boot(HERE)
    file = the_file(tmp_path)
    assert file.name.startswith("node-1_example-")
    assert json.loads(file.read_text()) == {"v": 1, "host": "node-1.example", "boot_id": "boot-1"}
    assert file.stat().st_mode & 0o777 == 0o640 & ~_umask()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"[]", b"7", b'{"host":"node-1.example"}', b'{"host":1,"boot_id":2}'],
)
async def test_what_cannot_be_read_says_nothing(
    store: DiskStore, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """No byte is believed for its sake; it is logged, and the next start puts it right."""
    await store.publish_boot(HERE)
    the_file(tmp_path).write_bytes(content)
    assert await store.boot_of(HERE.host) is None
    assert await store.hosts_of("boot-1") == []
    assert "boot_file_unreadable" in caplog.messages
    await store.publish_boot(HERE)
    assert await store.boot_of(HERE.host) == "boot-1"


async def test_another_hosts_file_under_this_hosts_name_says_nothing(
    store: DiskStore, tmp_path: Path
) -> None:
    """An operator who copied one."""
    await store.publish_boot(HERE)
    theirs = {"v": 1, "host": "node-2", "boot_id": "boot-1"}
    the_file(tmp_path).write_text(json.dumps(theirs))
    assert await store.boot_of(HERE.host) is None


async def test_a_medium_that_fails_leaves_the_old_one_and_nothing_else(
    store: DiskStore, tmp_path: Path
) -> None:
    """It is told, and tried again at the next start."""
    await store.publish_boot(HERE)
    failing = OSError(errno.EIO, os.strerror(errno.EIO))
    with patch.object(os, "rename", side_effect=failing), pytest.raises(StoreError, match="boot"):
        await store.publish_boot(Boot(HERE.host, "boot-2"))
    assert await store.boot_of(HERE.host) == "boot-1"
    assert the_file(tmp_path).suffix == ".json"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
