"""A number that grows and can be waited for."""

import asyncio


class Counter:
    """Counts up; ``reached`` waits until the count is there. For one event loop."""

    def __init__(self) -> None:
        self.value = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def add(self, amount: int = 1) -> None:
        """Count, and wake who waits for what is reached now."""
        self.value += amount
        for goal, future in self._waiting:
            if self.value >= goal and not future.done():
                future.set_result(None)
        self._waiting = [pair for pair in self._waiting if not pair[1].done()]

    async def reached(self, goal: int) -> None:
        """Wait until the count is ``goal`` or more."""
        if self.value >= goal:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((goal, future))
        await future
