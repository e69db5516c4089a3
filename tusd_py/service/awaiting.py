"""Which final uploads wait for which parts, as far as this process saw it."""

from collections import defaultdict
from collections.abc import Collection
from typing import Final

from tusd_py.core.ids import UploadId

MAX_AWAITED: Final = 10_000
"""Pairs of a final upload and a part that are remembered; the oldest final uploads beyond are
left to the sweeper."""


class Awaiting:
    """A memory only, so that nobody has to wait for the sweeper, who comes to every final upload
    anyway. Bounded: of what is terminated, or joined by others, nobody tells it."""

    def __init__(self, max_pairs: int = MAX_AWAITED) -> None:
        self._max_pairs = max_pairs
        self._parts: dict[UploadId, frozenset[UploadId]] = {}
        """By final upload, the one that was told first in front."""
        self._finals: defaultdict[UploadId, set[UploadId]] = defaultdict(set)
        """By part."""
        self._pairs = 0

    @property
    def pairs(self) -> int:
        """How many are remembered."""
        return self._pairs

    def put(self, final_id: UploadId, parts: Collection[UploadId]) -> None:
        """It waits for these, whatever was said before."""
        self.forget(final_id)
        if not parts:
            return
        self._parts[final_id] = frozenset(parts)
        for part_id in self._parts[final_id]:
            self._finals[part_id].add(final_id)
        self._pairs += len(self._parts[final_id])
        while self._pairs > self._max_pairs:
            self.forget(next(iter(self._parts)))

    def take(self, part_id: UploadId) -> list[UploadId]:
        """Who waits for this part; they are forgotten."""
        finals = sorted(self._finals.get(part_id, ()))
        for final_id in finals:
            self.forget(final_id)
        return finals

    def forget(self, final_id: UploadId) -> None:
        """It waits for nothing any more."""
        parts = self._parts.pop(final_id, frozenset())
        self._pairs -= len(parts)
        for part_id in parts:
            self._finals[part_id].discard(final_id)
            if not self._finals[part_id]:
                del self._finals[part_id]
