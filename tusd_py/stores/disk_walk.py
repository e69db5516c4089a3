"""The walk over everything in a root: which uploads are there, and what nobody needs any more."""

import logging
import os
import time
from collections.abc import Sequence

from tusd_py.core.ids import UploadId
from tusd_py.stores.base import WalkPage
from tusd_py.stores.disk_files import remove_file
from tusd_py.stores.disk_journals import Journals
from tusd_py.stores.disk_layout import HELD_SUFFIX, Layout, fan_out_after, split_name

log = logging.getLogger(__name__)


class Walker:
    """For worker threads."""

    def __init__(self, layout: Layout, journals: Journals) -> None:
        self._layout = layout
        self._journals = journals

    def page(self, cursor: str | None, orphan_age_seconds: float) -> WalkPage:
        """One directory. Held bytes without a holder are removed here: no upload misses them."""
        for name in fan_out_after(cursor):
            try:
                entries = os.listdir(f"{self._layout.root}/{name}")
            except FileNotFoundError:
                continue
            except OSError:
                # A bad sector, or somebody changed its rights: the others are looked at.
                log.warning("walk_passes_over", extra={"directory": name}, exc_info=True)
                continue
            return self._look(name, entries, time.time() - orphan_age_seconds)
        return WalkPage((), (), None)

    def _look(self, name: str, entries: Sequence[str], born_before: float) -> WalkPage:
        ids: set[UploadId] = set()
        for entry in entries:
            if (found := split_name(entry)) is None or not entry.startswith(name):
                continue
            upload_id, suffix = found
            if suffix == HELD_SUFFIX:
                self._remove_held(f"{self._layout.root}/{name}/{entry}", born_before)
            else:
                ids.add(upload_id)
        ours = sorted(ids)
        with_facts = [one for one in ours if self._journals.exists(one)]
        bare = sorted(ids.difference(with_facts))
        orphans = [one for one in bare if self._changed_at(one) < born_before]
        return WalkPage(with_facts, orphans, name)

    def _remove_held(self, path: str, born_before: float) -> None:
        try:
            if os.stat(path, follow_symlinks=False).st_mtime < born_before:
                remove_file(path)
        except FileNotFoundError:
            return  # its holder was faster
        except OSError:
            log.warning("held_bytes_stay", extra={"path": path}, exc_info=True)

    def _changed_at(self, upload_id: UploadId) -> float:
        """When the youngest of its files changed; now, where there is none any more."""
        found = []
        for path in (self._layout.bytes_file(upload_id), self._layout.facts_file(upload_id)):
            try:
                found.append(os.stat(path, follow_symlinks=False).st_mtime)
            except FileNotFoundError:
                continue
        return max(found, default=time.time())
