"""Which leases are held here, and who waits for one here.

What other processes say comes as messages, which are hints only: the records have the truth, and
who waits looks again each second.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary, WeakValueDictionary

from tusd_py.core.ids import HolderId, UploadId
from tusd_py.state.base import Lease


@dataclass(slots=True)
class _Numbered:
    number: int
    call: object | None
    """None: it was answered."""


class Handover:
    """Lives in the event loop; every method returns at once."""

    def __init__(self) -> None:
        # Weak: a holder that was thrown away is no holder.
        self._held: WeakValueDictionary[HolderId, Lease] = WeakValueDictionary()
        self._calls: WeakKeyDictionary[Lease, _Numbered] = WeakKeyDictionary()
        self._waiting: dict[UploadId, set[asyncio.Event]] = {}

    def hold(self, lease: Lease) -> None:
        self._held[lease.holder] = lease

    def number(self, lease: Lease, call: object) -> int:
        """Of the next call under this lease: one that arrives twice, perhaps after later ones, is
        known by it. A call that is made again because its outcome is not known keeps its number.
        """
        last = self._calls.get(lease)
        if last is None or last.call is None or last.call != call:
            last = _Numbered(1 if last is None else last.number + 1, call)
            self._calls[lease] = last
        return last.number

    def answered(self, lease: Lease) -> None:
        """The outcome of the last call is known."""
        if (last := self._calls.get(lease)) is not None:
            last.call = None

    def ask(self, holder: HolderId) -> None:
        """If it is held here: let its holder know that somebody wants it."""
        lease = self._held.get(holder)
        if lease is not None:
            lease.asked.set()

    def let_go(self, upload_id: UploadId, holder: HolderId) -> None:
        """That lease is over: whoever waits for it here tries again."""
        self._held.pop(holder, None)
        self.wake(upload_id)

    def wake(self, upload_id: UploadId) -> None:
        for event in self._waiting.get(upload_id, ()):
            event.set()

    def wake_all(self) -> None:
        for events in self._waiting.values():
            for event in events:
                event.set()

    @contextmanager
    def waiting(self, upload_id: UploadId) -> Iterator[asyncio.Event]:
        """An event that is set whenever a lease of this upload is let go."""
        event = asyncio.Event()
        events = self._waiting.setdefault(upload_id, set())
        events.add(event)
        try:
            yield event
        finally:
            events.discard(event)
            if not events and self._waiting.get(upload_id) is events:
                del self._waiting[upload_id]

    def on_message(self, text: str) -> None:
        """Of another process. Nothing in it is trusted beyond being a hint."""
        match text.split(" "):
            case ["ask", _, holder]:
                self.ask(HolderId(holder))
            case ["free", upload_id]:
                self.wake(UploadId(upload_id))
            case _:
                pass  # for somebody else here, or of a newer program
