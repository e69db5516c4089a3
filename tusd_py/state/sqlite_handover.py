"""Who holds a lease here, who waits for one, and how the two hear of each other."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from weakref import WeakValueDictionary

from tusd_py.core.ids import HolderId, UploadId
from tusd_py.state.base import Lease
from tusd_py.state.sqlite_leases import Held
from tusd_py.state.sqlite_peers import Peers

MAX_WANTED_UPLOADS: Final = 10_000
MAX_WANTING_PROCESSES: Final = 64
"""Further ones find out by the deadline; both only bound the memory that datagrams can take."""


class Handover:
    """Lives in the event loop; every method returns at once."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        # Weak: a holder that was thrown away is no holder.
        self._held: WeakValueDictionary[HolderId, Lease] = WeakValueDictionary()
        self._waiting: dict[UploadId, set[asyncio.Event]] = {}
        self._wanted: dict[UploadId, set[str]] = {}
        self.new_events: set[asyncio.Event] = set()
        """Set when events may have been committed."""

    def hold(self, lease: Lease) -> None:
        self._held[lease.holder] = lease

    def let_go(self, upload_id: UploadId, holder: HolderId) -> None:
        """That lease is over: whoever waits for it tries again, here and in other processes."""
        self._held.pop(holder, None)
        self._wake(upload_id)
        for name in self._wanted.pop(upload_id, ()):
            self._peers.send(name, f"free {upload_id}")

    def tell(self, held: Held, *, asks: bool) -> None:
        """Let the holder's process know that somebody waits; with ``asks``, ask it to let go.

        Idempotent: who waits repeats it, in case a datagram was lost.
        """
        if held.process != self._peers.name:
            verb = "ask" if asks else "wait"
            self._peers.send(
                held.process, f"{verb} {held.upload_id} {held.holder} {self._peers.name}"
            )
            return
        lease = self._held.get(held.holder)
        if lease is not None and asks:
            lease.asked.set()

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

    def tell_of_events(self) -> None:
        for event in self.new_events:
            event.set()

    def on_message(self, text: str) -> None:
        """A datagram of another process. Nothing in it is trusted beyond being a hint."""
        match text.split(" "):
            case ["ask" | "wait" as verb, upload_id, holder, name]:
                self._on_wish(UploadId(upload_id), HolderId(holder), name, asks=verb == "ask")
            case ["free", upload_id]:
                self._wake(UploadId(upload_id))
            case ["events"]:
                self.tell_of_events()
            case _:
                pass  # of a newer program: the state file says it too

    def _on_wish(self, upload_id: UploadId, holder: HolderId, name: str, *, asks: bool) -> None:
        lease = self._held.get(holder)
        if lease is None or lease.upload_id != upload_id:
            self._peers.send(name, f"free {upload_id}")
            return
        if asks:
            lease.asked.set()
        if upload_id in self._wanted or len(self._wanted) < MAX_WANTED_UPLOADS:
            names = self._wanted.setdefault(upload_id, set())
            if len(names) < MAX_WANTING_PROCESSES:
                names.add(name)

    def _wake(self, upload_id: UploadId) -> None:
        for event in self._waiting.get(upload_id, ()):
            event.set()
