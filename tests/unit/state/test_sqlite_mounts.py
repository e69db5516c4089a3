"""State files on network file systems are recognised."""

from pathlib import Path

import pytest

from tests.contract.states import BOOT, FakeClock
from tusd_py.state import sqlite
from tusd_py.state.base import StateError
from tusd_py.state.sqlite import SqliteSettings, SqliteState
from tusd_py.state.sqlite_mounts import network_kind

TABLE = r"""22 28 0:21 / /sys rw,nosuid shared:7 - sysfs sysfs rw
28 1 259:2 / / rw,relatime shared:1 - ext4 /dev/root rw
40 28 0:50 / /srv/nfs rw,relatime shared:9 - nfs4 server:/export rw,vers=4.2
41 28 0:51 / /srv/nfs/local rw - xfs /dev/sdb rw
42 28 0:52 / /mnt/my\040share rw,relatime - cifs //server/share rw
43 28 0:53 / /mnt/ssh rw - fuse.sshfs me@there: rw
44 28 0:54 / /twice rw - nfs server:/a rw
45 44 0:55 / /twice rw - ext4 /dev/sdc rw
a broken line
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/opt/files", None),
        ("/srv/nfs", "nfs4"),
        ("/srv/nfs/data", "nfs4"),
        ("/srv/nfsx", None),
        ("/srv/nfs/local/data", None),
        ("/mnt/my share/x", "cifs"),
        ("/mnt/ssh", "fuse.sshfs"),
        ("/twice/x", None),
    ],
)
def test_the_innermost_and_latest_mount_counts(
    tmp_path: Path, folder: str, kind: str | None
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(TABLE)
    assert network_kind(Path(folder), table) == kind


def test_a_system_without_the_table_has_no_network_file_systems(tmp_path: Path) -> None:
    assert network_kind(tmp_path, tmp_path / "missing") is None


async def test_a_state_file_on_one_is_refused_with_a_helpful_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "network_kind", lambda _: "nfs4")
    path = tmp_path / "state.db"
    state = SqliteState(SqliteSettings(path=path), boot=BOOT, lease_seconds=5.0, clock=FakeClock())
    with pytest.raises(StateError, match=r"network file system \(nfs4\)"):
        await state.open()
    assert not path.exists()
