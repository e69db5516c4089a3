"""An event loop whose clock jumps to the next timer instead of waiting: an hour takes no time.

For coroutines that need neither threads nor sockets of others.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

START: Final = 1_800_000_000.0
"""Unix time at which every run begins."""
STUCK_SECONDS: Final = 5.0
"""Real seconds after which a loop without any timer counts as stuck."""


class JumpingSelector(selectors.DefaultSelector):
    """Passes waits on to the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            ready = super().select(STUCK_SECONDS)
            if not ready:
                raise TimeoutError("nothing will ever happen in this loop")
            return ready
        self.now += timeout
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run(main: Callable[[Callable[[], float]], Coroutine[Any, Any, T]]) -> T:
    """Run ``main(now)`` where ``now`` is Unix time as the loop sees it."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop, debug=False) as runner:
        loop = runner.get_loop()
        return runner.run(main(lambda: START + loop.time()))
