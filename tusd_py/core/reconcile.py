"""Bytes and record disagree after a crash: which of them is true.

Called under a lease, whenever the last one was not let go cleanly, the record is of an earlier boot
of its writer's host, or of an earlier generation of the state store. Names in brackets are those of
the rules in the project's crash model; each has a test of that name.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from tusd_py.core.facts import CompletionMark, Remains
from tusd_py.core.upload import Kind, Status, Upload


class Durability(StrEnum):
    """What an acknowledged byte survives."""

    PROCESS = "process"
    """The death of the process."""
    FINISH = "finish"
    """So it does; and bytes and mark are synced before an upload becomes complete."""
    POWER = "power"
    """Every acknowledged byte survives the loss of power."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What is true now."""

    upload: Upload
    must_sync: bool
    """[power-longer] The file has to be synced before this offset is believed; so it has where a
    told offset may never shrink."""
    lost_bytes: int
    """Bytes that this durability promised to keep and that are not in the file: worth shouting
    about. Going back to the synced offset after a restart alone breaks no promise."""


def reconcile(
    row: Upload, remains: Remains | None, *, present_boot_id: str | None, durability: Durability
) -> Reconciled | None:
    """The upload as bytes, facts and mark say it is; None where it was terminated.

    ``present_boot_id`` is the boot that the *writer's* host runs now, as published in the state
    store, never the reader's own [host-boot]; None where that host is not known (any more).
    """
    if remains is None:
        return None  # [facts-rule] termination removes the facts before it is answered
    if row.status in (Status.COMPLETE, Status.REJECTED, Status.INVALID, Status.TERMINATING):
        return Reconciled(row, must_sync=False, lost_bytes=0)
    length = row.length
    if length is None and remains.facts.length is not None and remains.facts.length >= row.offset:
        length = remains.facts.length  # declared, and not committed yet
    if remains.mark is not None:
        return Reconciled(_completed(row, remains.mark), must_sync=False, lost_bytes=0)

    restarted = present_boot_id != row.writer.boot_id
    claimed = _believed(row, remains.size, restarted=restarted)
    offset = min(claimed, remains.size)
    if length is not None:
        offset = min(offset, length)
    status: Status = row.status
    # A received upload whose bytes did not outlive the machine is receiving again.
    if status is Status.RECEIVED and offset != length:
        status = Status.JOINING if row.kind is Kind.FINAL else Status.RECEIVING
    if row.is_strict and offset < row.offset:
        # The protocol's own MUST: an offset that was told never shrinks, rather nothing goes on.
        status = Status.INVALID
    syncs = durability is Durability.POWER or (
        row.is_strict and durability is Durability.FINISH  # what is told of it is synced before
    )
    upload = replace(
        row,
        length=length,
        offset=offset,
        status=status,
        synced_offset=min(row.synced_offset, offset),
        # [no-cut] what lies past the offset is never cut off, only never believed
        suspect_length=max(remains.size, row.suspect_length) if remains.size > offset else 0,
        digests=row.digests if offset == row.offset else (),
    )
    return Reconciled(
        upload,
        must_sync=syncs and offset > row.synced_offset,
        lost_bytes=max(0, claimed - remains.size),
    )


def _believed(row: Upload, size: int, *, restarted: bool) -> int:
    """The offset that record and file size together speak for."""
    if restarted:
        # [synced-number] the record may be newer than the pages that reached the medium. With
        # ``power`` both are the same, unless the record was written before that was set.
        return row.synced_offset
    if row.offset < row.suspect_length:
        return row.offset  # [no-cut] the length says nothing here
    return max(row.offset, size)


def _completed(row: Upload, mark: CompletionMark) -> Upload:
    return replace(
        row,
        status=Status.COMPLETE,
        length=mark.length,
        offset=mark.length,
        synced_offset=mark.length,
        suspect_length=0,
        finished_at=mark.finished_at,
        place=mark.place,
        # They were verified before the mark was written.
        digests=row.digests or row.promised_digests,
    )
