"""Every key there is: its name, what it holds, and how long it lives.

A test compares the table with what a live server holds, and a document prints it. Names begin
with the key of their bucket, ``<prefix>:{<bucket in hexadecimal>}``, or of what belongs to no
bucket, ``<prefix>:{meta}``: what is in braces decides about the slot of a Cluster. No record
relies on a key that Redis lets expire.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Form(StrEnum):
    """As ``TYPE`` of Redis says it."""

    STRING = "string"
    HASH = "hash"
    SORTED_SET = "zset"


class Place(StrEnum):
    """What the name of a key begins with, behind the prefix."""

    BUCKET = "{<bucket>}"
    META = "{meta}"


PATTERNS: Final = {
    "id": r"[0-9a-f]{32}",
    "event": r"[0-9a-f]{32}",
    "writer": r"[0-9a-f]{16}",
    "digest": r"[0-9a-f]{40}",
    "hook": r".+?",
}
"""What may stand for a ``<name>`` in the name of a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One kind of key."""

    place: Place = Place.BUCKET
    name: str
    """Behind its place. What differs from key to key stands in angle brackets."""
    form: Form
    meaning: str
    life: str

    def matches(self, key: str, prefix: str) -> bool:
        """Whether ``key`` is of this kind."""
        place = r"\{[0-9a-f]{2}\}" if self.place is Place.BUCKET else r"\{meta\}"
        parts = re.split(r"<(\w+)>", self.name)
        names = "".join(
            PATTERNS[part] if number % 2 else re.escape(part) for number, part in enumerate(parts)
        )
        return re.fullmatch(f"{re.escape(prefix)}:{place}:{names}", key, re.DOTALL) is not None


_RECORD: Final = "as long as the record"
_MEMBERS: Final = "while it has members"
_STAYS: Final = "stays"

KEYS: Final[tuple[Key, ...]] = (
    # --- the bucket
    Key(
        name="meta",
        form=Form.HASH,
        meaning="layout, number of buckets, generation and when it began, registered hooks, "
        "longest lease of any machine, last number of an event",
        life=_STAYS,
    ),
    Key(
        name="boots",
        form=Form.HASH,
        meaning="what each host runs: host to boot id",
        life=_STAYS,
    ),
    # --- records
    Key(
        name="f:<id>",
        form=Form.STRING,
        meaning="an upload: what never changes (JSON)",
        life="from the creation until the upload is removed",
    ),
    Key(
        name="u:<id>",
        form=Form.HASH,
        meaning="an upload: what changes, and its lease",
        life="from the creation until the upload is removed",
    ),
    Key(
        name="client",
        form=Form.SORTED_SET,
        meaning="uploads by client, video and id",
        life=_MEMBERS,
    ),
    Key(name="video", form=Form.SORTED_SET, meaning="uploads by video and id", life=_MEMBERS),
    Key(name="status", form=Form.SORTED_SET, meaning="uploads by status and id", life=_MEMBERS),
    Key(
        name="open:<writer>",
        form=Form.SORTED_SET,
        meaning="uploads that are receiving and not told as interrupted, by the time of their last "
        "change: those of one writer (generation, host and boot)",
        life=_MEMBERS,
    ),
    Key(
        name="still:<writer>",
        form=Form.SORTED_SET,
        meaning="the other unfinished uploads of that writer, by the time of their last change",
        life=_MEMBERS,
    ),
    Key(
        name="writers",
        form=Form.HASH,
        meaning="which generation, host and boot the names of writers stand for",
        life="each until a sweep finds none of its uploads unfinished",
    ),
    Key(
        name="held",
        form=Form.SORTED_SET,
        meaning="unfinished uploads that are under a lease, or were not let go cleanly, by the "
        "deadline of the lease",
        life=_MEMBERS,
    ),
    Key(
        name="expires",
        form=Form.SORTED_SET,
        meaning="uploads that can expire, by when they do",
        life=_MEMBERS,
    ),
    Key(
        name="undecided",
        form=Form.SORTED_SET,
        meaning="received uploads, by the time of their last change",
        life=_MEMBERS,
    ),
    Key(
        name="joining",
        form=Form.SORTED_SET,
        meaning="uploads that are put together, by the time of their last change",
        life=_MEMBERS,
    ),
    Key(
        name="terminating",
        form=Form.SORTED_SET,
        meaning="uploads that are being removed, by the time of their last change",
        life=_MEMBERS,
    ),
    Key(
        name="retired",
        form=Form.SORTED_SET,
        meaning="complete uploads that are no parts, by when they were finished",
        life=_MEMBERS,
    ),
    Key(
        name="refused",
        form=Form.SORTED_SET,
        meaning="rejected and invalid uploads, by the time of their last change",
        life=_MEMBERS,
    ),
    Key(name="counts", form=Form.HASH, meaning="how many uploads there are by status", life=_STAYS),
    Key(
        name="waiting",
        form=Form.HASH,
        meaning="processes that wait for a lease: id to names",
        life="each until that lease is let go, taken, or its upload removed",
    ),
    # --- keys of one file
    Key(
        name="once",
        form=Form.HASH,
        meaning="uploads of keys of one file: SHA-1 of the key to id, reservation and when that "
        "runs out",
        life="each until its upload is removed, or a purge finds none",
    ),
    Key(
        name="void",
        form=Form.SORTED_SET,
        meaning="reservations that can make no record any more, by when that was decided",
        life="an hour, and until the next one is added",
    ),
    Key(
        name="removed",
        form=Form.SORTED_SET,
        meaning="removals of late, by when they were: one that is sent again is known by it",
        life="a minute, and until the next removal",
    ),
    # --- events
    Key(
        name="events",
        form=Form.SORTED_SET,
        meaning="ids of events, by when they happened: none is told again under its id",
        life="each for outbox.keep_seconds, and as long as a hook waits for it",
    ),
    Key(
        name="e:<event>",
        form=Form.STRING,
        meaning="an event: how many hooks have not done with it, its upload, its number in the "
        "bucket, when, kind and data (JSON)",
        life="until each hook has taken it, or its dead letters are purged",
    ),
    Key(
        name="heads:<hook>",
        form=Form.HASH,
        meaning="the next event of each upload for that hook: failures, when it is due, and who "
        "has it until when",
        life=_MEMBERS,
    ),
    Key(
        name="due:<hook>",
        form=Form.SORTED_SET,
        meaning="uploads whose next event nobody has, by when it is due",
        life=_MEMBERS,
    ),
    Key(
        name="claims:<hook>",
        form=Form.SORTED_SET,
        meaning="uploads whose next event a process has, with its name, by until when",
        life=_MEMBERS,
    ),
    Key(
        name="wait:<hook>:<id>",
        form=Form.SORTED_SET,
        meaning="further events of an upload for that hook, in the order of their commits",
        life=_MEMBERS,
    ),
    Key(
        name="dead:<hook>",
        form=Form.SORTED_SET,
        meaning="dead letters, by when they were given up",
        life="each until it is replayed, or for outbox.keep_seconds",
    ),
    Key(
        name="letters:<hook>",
        form=Form.HASH,
        meaning="what is written on dead letters: failures and the last reason",
        life="as the dead letter",
    ),
    Key(
        name="backlog",
        form=Form.HASH,
        meaning="how many events wait, by hook",
        life="each while events wait or are dead, and until the next purge",
    ),
    # --- quotas: the only keys that Redis itself lets go
    Key(
        name="rate:<digest>",
        form=Form.HASH,
        meaning="turns that a client took: until when they are paid off, and the last calls",
        life="expires ten seconds after all is paid off",
    ),
    Key(
        name="places:<digest>",
        form=Form.SORTED_SET,
        meaning="bodies of a client that are read at full speed, by their deadlines",
        life="expires a second after the last deadline",
    ),
    # --- processes
    Key(
        place=Place.META,
        name="processes",
        form=Form.SORTED_SET,
        meaning="processes by their last heartbeat",
        life="a day after their last heartbeat",
    ),
    Key(
        place=Place.META,
        name="beats",
        form=Form.HASH,
        meaning="since when heartbeats have come without a gap",
        life=_STAYS,
    ),
    Key(
        place=Place.META,
        name="moving",
        form=Form.STRING,
        meaning="a copy into this state was begun: it holds a part only",
        life="until the copy is finished; with it the state is not opened",
    ),
)
