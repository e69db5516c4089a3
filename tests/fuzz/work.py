"""How much a call does, counted: a clock says something else each time."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def work_of(call: Callable[[], object], ignored: tuple[type[Exception], ...] = ()) -> int:
    """Lines run, plus the characters of all texts that were made or handed on meanwhile.

    The latter so that a copy of the rest for each piece of it shows, though it is one line. A text
    that is handed on as it is counts once. What happens within one call of C is not seen.
    """
    meter = _Meter()
    before = sys.gettrace()
    sys.settrace(meter.trace)
    try:
        call()
    except ignored:
        pass
    finally:
        sys.settrace(before)
    return meter.work


class _Meter:
    def __init__(self) -> None:
        self.work = 0
        # Kept alive, or another text would come to have the identity of one that has gone.
        self._seen: dict[int, object] = {}

    def trace(self, frame: FrameType, event: str, arg: object) -> Any:
        self.work += 1
        for value in (*frame.f_locals.values(), arg):
            if isinstance(value, str | bytes | bytearray) and id(value) not in self._seen:
                self._seen[id(value)] = value
                self.work += len(value)
        return self.trace
