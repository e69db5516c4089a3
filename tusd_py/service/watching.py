"""Who watches what: one look at the state per watched thing and interval, however many viewers.

A thing that nobody watches is not looked at. Viewers are told what differs from what they were told
before, so that one who reads slowly misses steps and no end, and nothing piles up for it.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from tusd_py.core.errors import ServerStopping, TooManyWatchers, UploadError
from tusd_py.core.identity import Owner
from tusd_py.core.ids import UploadId
from tusd_py.service.observing import Observing, View

log = logging.getLogger(__name__)

Subject = UploadId | Owner
"""One upload, or all of one client's for one video."""
_NEVER: Final = -1


class WatchOver(Exception):
    """The watch has ended, and not because of what was watched."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a viewer has not been told yet; its first ones are all there is."""

    views: Sequence[View] = ()
    removed: Sequence[UploadId] = ()


@dataclass(eq=False, slots=True)
class _Topic:
    """One thing that is watched."""

    subject: Subject
    views: dict[UploadId, View] = field(default_factory=dict)
    version: int = _NEVER
    """Grows with each look that found something else than the one before."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the version has grown; then another takes its place."""
    viewers: int = 0
    is_over: bool = False
    task: asyncio.Task[None] | None = None

    def show(self, found: dict[UploadId, View]) -> None:
        if self.version != _NEVER and found == self.views:
            return
        # What is equal stays the same object: viewers compare by identity.
        old = self.views
        self.views = {
            one: before if (before := old.get(one)) == view and before is not None else view
            for one, view in found.items()
        }
        self.version += 1
        self.wake()

    def end(self) -> None:
        self.is_over = True
        self.wake()

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class Viewer:
    """One who watches. Made by ``Watchers.join``; must ``leave``."""

    def __init__(self, watchers: "Watchers", topic: _Topic) -> None:
        self._watchers = watchers
        self._topic = topic
        self._told: dict[UploadId, View] = {}
        self._version = _NEVER
        self._has_left = False

    async def changes(self, seconds: float) -> Changes | None:
        """What is new; None where nothing is for ``seconds``. Raises WatchOver."""
        topic = self._topic
        if self._version == topic.version and not topic.is_over:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await topic.changed.wait()
        if topic.is_over:
            raise WatchOver
        if self._version == topic.version:
            return None
        views = topic.views
        fresh = [view for one, view in views.items() if self._told.get(one) is not view]
        removed = [one for one in self._told if one not in views]
        self._told, self._version = dict(views), topic.version
        return Changes(fresh, removed)

    def leave(self) -> None:
        """Idempotent."""
        if not self._has_left:
            self._has_left = True
            self._watchers.left(self._topic)


class Watchers:
    """All viewers of one process."""

    def __init__(self, observing: Observing, *, poll_seconds: float, max_viewers: int) -> None:
        self._observing = observing
        self._poll_seconds = poll_seconds
        self._max_viewers = max_viewers
        self._topics: dict[Subject, _Topic] = {}
        self._viewers = 0
        self._ending: set[asyncio.Task[Any]] = set()
        self._is_stopping = False

    def join(self, subject: Subject) -> Viewer:
        """A viewer of ``subject``, whose rights the caller has looked at. Raises TooManyWatchers,
        ServerStopping."""
        if self._is_stopping:
            raise ServerStopping()
        if self._viewers >= self._max_viewers:
            raise TooManyWatchers()
        topic = self._topics.get(subject)
        if topic is None:
            topic = self._topics[subject] = _Topic(subject)
            topic.task = asyncio.create_task(self._watch(topic))
        self._viewers += 1
        topic.viewers += 1
        return Viewer(self, topic)

    def left(self, topic: _Topic) -> None:
        """One viewer less; nobody looks where none is left."""
        self._viewers -= 1
        topic.viewers -= 1
        if not topic.viewers:
            self._forget(topic)

    def stop(self) -> None:
        """Every watch ends, no other begins."""
        self._is_stopping = True
        for topic in tuple(self._topics.values()):
            topic.end()
            self._forget(topic)

    async def close(self) -> None:
        """After ``stop``: wait until nobody looks any more."""
        if self._ending:
            await asyncio.wait(self._ending)

    def _forget(self, topic: _Topic) -> None:
        if self._topics.get(topic.subject) is topic:
            del self._topics[topic.subject]
        if topic.task is not None and topic.task is not asyncio.current_task():
            topic.task.cancel()
            self._ending.add(topic.task)
            topic.task.add_done_callback(self._ending.discard)

    async def _watch(self, topic: _Topic) -> None:
        is_away = False
        try:
            while True:
                try:
                    topic.show(await self._observing.survey(topic.subject))
                    is_away = False
                except UploadError as exc:
                    # Viewers keep what they know; a state that is away comes back.
                    log.log(
                        logging.DEBUG if is_away else logging.WARNING,
                        "watch_cannot_look",
                        extra={"code": exc.code},
                    )
                    is_away = True
                await asyncio.sleep(self._poll_seconds)
        except Exception:
            log.exception("watch_died")
            topic.end()
            self._forget(topic)
