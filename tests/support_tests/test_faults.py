"""The small file system is small."""

import errno
import os
from pathlib import Path

import pytest

from tests.support import faults
from tests.support.faults import MIB, NoSmallDisk, small_disk


@pytest.mark.parametrize("root", [True, False])
def test_it_fills_up_and_is_freed(
    tmp_path: Path, root: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not root:  # the other way in, also when the tests run as root
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with small_disk(tmp_path / "disk", mib=4) as disk:
        (disk.path / "kept").write_bytes(b"kept")
        disk.fill()
        with pytest.raises(OSError, match="No space") as full:
            (disk.path / "more").write_bytes(bytes(65536))
        assert full.value.errno == errno.ENOSPC
        disk.release()
        assert disk.free_bytes() > 3 * MIB
        disk.fill(leave_bytes=MIB)
        assert 0 < disk.free_bytes() <= MIB
        assert (disk.path / "kept").read_bytes() == b"kept"
    assert not (tmp_path / "disk" / "kept").exists()


def test_a_machine_that_allows_neither_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "_try_mount", lambda *_: "mount: permission denied")
    monkeypatch.setattr(faults, "UNSHARE", ("sh", "-c", "echo forbidden >&2; exit 1"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with (
        pytest.raises(NoSmallDisk, match=r"permission denied.*forbidden"),
        small_disk(tmp_path / "disk", mib=4),
    ):
        pass
