"""What may happen to an upload. Pure: no clock, no disk, no network.

Each function looks at an upload and at what is asked, and either returns a plan or raises an
UploadError. Nothing has been written when it raises: services call the rule first and act on the
plan afterwards.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from tusd_py.core.commands import AppendBytes, Completion, CreateUpload
from tusd_py.core.digests import Digest, Promise
from tusd_py.core.errors import (
    BodyTooLong,
    LengthConflict,
    OffsetMismatch,
    PartUnusable,
    UploadFinished,
    UploadIsFinal,
    UploadTooLarge,
    UploadUnknown,
)
from tusd_py.core.identity import TOKEN_KEY, Claims, Owner
from tusd_py.core.ids import ClientId, UploadId, VideoId
from tusd_py.core.upload import GONE, NEXT, Boot, Kind, Status, Upload

MAX_LENGTH: Final = (1 << 63) - 1
"""The largest offset a file can have (off_t)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The operator's bounds on uploads."""

    max_bytes: int | None = None
    expire_seconds: float | None = None
    expiry_is_sliding: bool = False
    """Whether progress puts the expiry off, or it counts from the creation."""

    def expiry_at_creation(self, now: float) -> float | None:
        return None if self.expire_seconds is None else now + self.expire_seconds

    def expiry_after_progress(self, upload: Upload, now: float) -> float | None:
        """An upload that has no expiry keeps none: its owner was told so."""
        if upload.expires_at is None or self.expire_seconds is None or not self.expiry_is_sliding:
            return upload.expires_at
        return max(upload.expires_at, now + self.expire_seconds)

    def bound_for(self, claims: Claims | None) -> int | None:
        """The smaller of the server's and the token's bound, and never more than a file can have:
        a token may name any number."""
        bounds = [
            b for b in (self.max_bytes, claims.max_bytes if claims else None) if b is not None
        ]
        return min(*bounds, MAX_LENGTH) if bounds else None


@dataclass(frozen=True, slots=True)
class AppendPlan:
    """Where the bytes go and how many may come."""

    offset: int
    room: int
    """Not one byte more than this is stored."""
    length: int | None
    """The upload's length, where it is known or declared by this request."""
    promise: Promise | None = None
    """What the body hashes to: it is held back until that was verified."""


def plan_create(
    command: CreateUpload,
    claims: Claims | None,
    limits: Limits,
    *,
    upload_id: UploadId,
    boot: Boot,
    now: float,
) -> Upload:
    """The record of the upload that ``command`` asks for. Raises UploadTooLarge or BodyTooLong."""
    bound = limits.bound_for(claims)
    if command.length is not None and command.length > (MAX_LENGTH if bound is None else bound):
        raise UploadTooLarge(max_bytes=MAX_LENGTH if bound is None else bound)
    upload = Upload(
        id=upload_id,
        owner=claims.owner if claims else _owner_by_metadata(command),
        length=command.length,
        kind=command.kind,
        parts=command.parts,
        concat=command.concat,
        status=Status.JOINING if command.kind is Kind.FINAL else Status.RECEIVING,
        metadata=command.metadata.without({TOKEN_KEY}),
        overrides=dict(claims.metadata) if claims else {},
        max_bytes=bound,
        created_at=now,
        changed_at=now,
        expires_at=limits.expiry_at_creation(now),
        creator=boot,
        writer=boot,
        protocol=command.protocol,
        promised_digests=tuple(map(pair_of, command.promised_digests)),
        is_strict=command.is_strict,
    )
    if command.announced_bytes:
        _check_announced(upload, command.announced_bytes, room_of(upload, upload.length))
    return upload


def plan_append(upload: Upload, command: AppendBytes) -> AppendPlan:
    """Where ``command``'s bytes go.

    Raises UploadIsFinal, OffsetMismatch, LengthConflict, UploadTooLarge, BodyTooLong,
    UploadUnknown. tus 1.0, "PATCH": "If the offsets do not match, the Server MUST respond with the
    409 Conflict status without modifying the upload resource."
    """
    if upload.status in GONE:
        raise UploadUnknown()
    if upload.kind is Kind.FINAL:
        raise UploadIsFinal()
    if command.offset != upload.offset:
        raise OffsetMismatch(stored=upload.offset, requested=command.offset)
    length = plan_length(upload, command.declared_length)
    room = room_of(upload, length)
    if command.announced_bytes is not None:
        _check_announced(replace(upload, length=length), command.announced_bytes, room)
    return AppendPlan(upload.offset, room, length, command.promise)


def check_completion(upload: Upload, completion: Completion) -> bool:
    """Whether ``upload``, whose body has come as a whole, is complete by that.

    Raises LengthConflict where the body was said to be the last one and bytes are missing.
    """
    if completion is Completion.AT_LENGTH:
        return upload.is_full
    if completion is Completion.LATER:
        return False
    if upload.length is not None and upload.offset != upload.length:
        raise LengthConflict(stored=upload.length, requested=upload.offset)
    return True


def plan_join(final: Upload, parts: Sequence[Upload | None], owner: Owner | None) -> int | None:
    """The length of ``final``, None while that of a part is not known. ``owner``: whose all parts
    have to be; None: of one and the same owner.

    Raises PartUnusable where a part does not exist, is no partial upload, cannot become complete
    any more, or belongs to somebody else (a client learns no more than that it cannot be used),
    and UploadTooLarge. tus 1.0, "Concatenation": the length is the sum of those of the parts.
    """
    total: int | None = 0
    for part in parts:
        if part is None or part.kind is not Kind.PARTIAL or part.status in GONE:
            raise PartUnusable()
        owner = part.owner if owner is None else owner
        if part.owner != owner:
            raise PartUnusable()
        total = None if total is None or part.length is None else total + part.length
    known = sum(part.length or part.offset for part in parts if part is not None)
    bound = MAX_LENGTH if final.max_bytes is None else final.max_bytes
    if known > bound:
        raise UploadTooLarge(max_bytes=bound)
    return total


def key_of_final(final: Upload) -> str:
    """The same for finals of the same parts in the same order, owner and metadata: one that is
    asked for again, because its answer was lost, is the same upload."""
    parts = "\n".join((final.owner.video_id, final.owner.client_id, *final.parts))
    whole = f"{parts}\n\n{final.metadata.wire}".encode("utf-8", "surrogatepass")
    return f"final {hashlib.sha256(whole).hexdigest()}"


def plan_length(upload: Upload, declared: int | None) -> int | None:
    """The upload's length once ``declared`` is taken in.

    tus 1.0, "Upload-Defer-Length": "Once set the length MUST NOT be changed."
    """
    if declared is None or declared == upload.length:
        return upload.length
    if upload.length is not None:
        raise LengthConflict(stored=upload.length, requested=declared)
    if declared < upload.offset:
        raise LengthConflict(stored=upload.offset, requested=declared)
    bound = MAX_LENGTH if upload.max_bytes is None else upload.max_bytes
    if declared > bound:
        raise UploadTooLarge(max_bytes=bound)
    return declared


def room_of(upload: Upload, length: int | None) -> int:
    """How many more bytes fit."""
    end = length if length is not None else upload.max_bytes
    return (MAX_LENGTH if end is None else end) - upload.offset


def overflow_error(upload: Upload, length: int | None, room: int) -> UploadTooLarge | BodyTooLong:
    """What a body is refused for that has more than ``room`` bytes."""
    if length is None:
        bound = MAX_LENGTH if upload.max_bytes is None else upload.max_bytes
        return UploadTooLarge(max_bytes=bound)
    return BodyTooLong(room=room, offset=upload.offset)


def check_append_to_finished(upload: Upload, command: AppendBytes) -> None:
    """An append to an upload that takes no more bytes: returns where it would change nothing.

    204 where its offset is the length, else 409: a client whose abandoned request had finished the
    upload must be able to go on; 403 or 410 would make it give up.
    """
    if upload.status in GONE:
        raise UploadUnknown()
    if upload.kind is Kind.FINAL:
        raise UploadIsFinal()
    if command.refuses_finished and upload.is_complete:
        raise UploadFinished(upload.offset)
    if command.offset != upload.offset:
        raise OffsetMismatch(stored=upload.offset, requested=command.offset)
    plan_length(upload, command.declared_length)
    if command.announced_bytes:
        raise BodyTooLong(room=0, offset=upload.offset)


def pair_of(digest: Digest) -> tuple[str, str]:
    """A digest as records keep it: the algorithm's name and Base64."""
    return digest.algorithm.value, base64.b64encode(digest.value).decode("ascii")


def move(upload: Upload, status: Status) -> Upload:
    """The upload with its next status. A move that the table does not have is a fault of ours."""
    if status not in NEXT[upload.status]:
        raise ValueError(f"an upload cannot go from {upload.status} to {status}")
    return replace(upload, status=status)


def _check_announced(upload: Upload, announced: int, room: int) -> None:
    if announced > room:
        raise overflow_error(upload, upload.length, room)


def _owner_by_metadata(command: CreateUpload) -> Owner:
    """Without tokens the metadata says whose file it is, if anything does."""
    return Owner(
        VideoId(command.metadata.text("video_id") or ""),
        ClientId(command.metadata.text("client_id") or ""),
    )
