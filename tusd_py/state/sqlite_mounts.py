"""Whether a folder lies on a network file system, by the kernel's table of mounts."""

from pathlib import Path
from typing import Final

MOUNTS: Final = Path("/proc/self/mountinfo")
NETWORK_KINDS: Final = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "afs",
        "ceph",
        "lustre",
        "beegfs",
        "glusterfs",
        "9p",
        "fuse.sshfs",
        "fuse.glusterfs",
        "fuse.ceph",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.goofys",
        "fuse.mount-s3",
        "fuse.davfs2",
        "fuse.juicefs",
    }
)
"""Their locks or their shared memory do not hold between machines."""


def network_kind(folder: Path, mounts: Path = MOUNTS) -> str | None:
    """The kind of network file system that ``folder`` is on; None where it is local, or where the
    system has no such table."""
    try:
        table = mounts.read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    kind = _kind_of(folder.resolve(), table)
    return kind if kind in NETWORK_KINDS else None


def _kind_of(folder: Path, table: str) -> str | None:
    best, kind = -1, None
    for line in table.splitlines():
        # proc(5): id parent major:minor root MOUNT-POINT options … - TYPE source options
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        point = Path(_unescape(fields[4]))
        # A later mount on the same point hides the earlier one.
        if folder.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), right.split(" ")[0]
    return kind


def _unescape(text: str) -> str:
    """proc(5): space, tab, newline and backslash stand as octal escapes."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text
