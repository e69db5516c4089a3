"""What the server has promised: every acknowledged offset, finished file and completion event."""

import hashlib
import random
from collections import Counter
from dataclasses import dataclass, field

from tests.support.receiver import Delivery

BLOCK_BYTES = 64 * 1024


class Broken(AssertionError):
    """A promise was not kept."""


def content(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


@dataclass(slots=True)
class Promise:
    """One upload, as its client knows it."""

    url: str
    seed: int
    size: int
    acknowledged: int = 0
    """The highest offset that an answer, of PATCH or HEAD, has told."""
    is_finished: bool = False
    """An answer has said that offset = length."""

    @property
    def upload_id(self) -> str:
        return self.url.rpartition("/")[2]

    def acknowledge(self, offset: int, *, what: str) -> None:
        """An answer told this offset. Raises Broken where an earlier one told more."""
        if offset < self.acknowledged:
            raise Broken(f"{what} of {self.url} told {offset} after {self.acknowledged}")
        if offset > self.size:
            raise Broken(f"{what} of {self.url} told {offset} of {self.size} bytes")
        self.acknowledged = offset
        self.is_finished = self.is_finished or offset == self.size

    def check_bytes(self, found: bytes, *, whole: bool) -> None:
        """What lies on the disk: all of it, or at least what was acknowledged."""
        wanted = content(self.seed, self.size)
        if whole and len(found) != self.size:
            raise Broken(f"{self.url} has {len(found)} bytes, not {self.size}")
        if len(found) < self.acknowledged:
            raise Broken(f"{self.url} has {len(found)} bytes, {self.acknowledged} acknowledged")
        known = len(found) if whole else self.acknowledged
        if found[:known] != wanted[:known]:
            at = next(i for i in range(known) if found[i] != wanted[i])
            raise Broken(f"{self.url} differs at byte {at} ({_digest(found)})")


@dataclass(slots=True)
class Ledger:
    """All promises of one run."""

    promises: list[Promise] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    """Method and status (or ``cut``), and how often."""
    sent_bytes: int = 0

    def check_events(self, deliveries: list[Delivery]) -> int:
        """Each finished upload was told as completed, under one id; how many deliveries of
        completions there were. Raises Broken."""
        told: dict[str, set[str]] = {}
        taken: set[str] = set()
        count = 0
        for one in deliveries:
            if one.problem is not None:
                raise Broken(f"a delivery with a bad signature: {one.problem}")
            if one.kind != "upload.completed":
                continue
            count += 1
            told.setdefault(one.upload_id, set()).add(one.event_id)
            if one.taken:
                taken.add(one.upload_id)
        for upload_id, ids in told.items():
            if len(ids) != 1:
                raise Broken(f"the completion of {upload_id} was told under {sorted(ids)}")
        if missing := {one.upload_id for one in self.promises if one.is_finished} - taken:
            raise Broken(f"{len(missing)} completions were never told: {sorted(missing)[:5]}")
        return count

    def is_told(self, deliveries: list[Delivery]) -> bool:
        """Whether every finished upload's completion was taken."""
        taken = {one.upload_id for one in deliveries if one.taken}
        taken_completions = {
            one.upload_id for one in deliveries if one.taken and one.kind == "upload.completed"
        }
        wanted = {one.upload_id for one in self.promises if one.is_finished}
        return wanted <= taken_completions and wanted <= taken


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
