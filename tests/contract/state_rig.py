"""What the contract suites need of a state store to run on it."""

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import Final

from tusd_py.core.upload import Boot
from tusd_py.state.base import StateStore

BEGAN: Final = 1000.0
"""The time at which every rig begins."""
LEASE_SECONDS: Final = 5.0
BOOT: Final = Boot("host-a", "boot-1")


class FakeClock:
    """A clock that moves when it is told to. Shared by all instances of one store."""

    def __init__(self) -> None:
        self.now = BEGAN

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class StateRig(ABC):
    """One store of one back end, on which several instances work as if they were processes."""

    shows_death: bool
    """Whether a holder that died is known at once, or by its deadline only."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self._opened: list[StateStore] = []

    @abstractmethod
    def make(self, boot: Boot) -> StateStore:
        """An instance on the store, not open yet."""

    @abstractmethod
    async def change_generation(self) -> None:
        """Close all instances; those that are opened next find another generation."""

    @abstractmethod
    def broken_commits(self, state: StateStore) -> AbstractAsyncContextManager[None]:
        """Nothing that this instance writes is committed meanwhile: the store fails at the end."""

    async def open(self, boot: Boot = BOOT) -> StateStore:
        state = self.make(boot)
        await state.open()
        self._opened.append(state)
        return state

    async def close(self) -> None:
        for state in self._opened:
            await state.close()
        self._opened.clear()

    async def let_grace_pass(self) -> None:
        """A store that was made just now adopts nothing for one lease's time."""
        self.clock.advance(LEASE_SECONDS + 1)
