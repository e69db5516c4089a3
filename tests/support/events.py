"""Server-sent events as a client reads them, strictly."""

import json
from dataclasses import dataclass
from typing import Any

from tests.support.wire import Wire


@dataclass(slots=True)
class Event:
    """One event; a comment is one of its own kind, and so is the time to come again after."""

    kind: str
    data: Any = None
    id: str | None = None
    retry: str | None = None


class Listener:
    """A stream whose head was read."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._text = b""

    async def event(self) -> Event:
        """The next one. Raises EOFError where the stream has ended in order, Hangup else."""
        while b"\n\n" not in self._text:
            chunk = await self.wire.read_chunk()
            if not chunk:
                assert self._text == b"", self._text
                raise EOFError
            self._text += chunk
        block, _, self._text = self._text.partition(b"\n\n")
        return parse_event(block.decode())

    async def events(self, *kinds: str) -> list[Event]:
        """The next ones, which are of these kinds."""
        found = [await self.event() for _ in kinds]
        assert [one.kind for one in found] == list(kinds), found
        return found


def parse_event(block: str) -> Event:
    """WHATWG HTML, 9.2.6, and nothing that it would overlook."""
    found = Event("comment")
    for line in block.split("\n"):
        name, colon, value = line.partition(":")
        assert colon, line
        value = value.removeprefix(" ")
        match name:
            case "event":
                found.kind = value
            case "data":
                assert found.data is None, block
                found.data = json.loads(value)
            case "id":
                found.id = value
            case "retry":
                found.kind, found.retry = "retry", value
            case _:
                assert (name, value) == ("", ""), line
    return found
