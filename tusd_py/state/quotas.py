"""The contract of quotas: what one client may take, over all servers that share the state.

Nothing of it is a record: what is kept here is small, is forgotten by itself once it says nothing
any more, and may be lost (a client then has its whole burst once more). Each call is one step and
one round trip; every method raises StateError where the store cannot be asked.
"""

from abc import ABC, abstractmethod

from tusd_py.core.ids import HolderId
from tusd_py.core.rates import Rate, Turn


class Quotas(ABC):
    """Turns at a rate, and places of which there are so many.

    A ``key`` is any text, however long; a store keeps a digest of it. Time is by the store's clock,
    the same for all who share it.
    """

    @abstractmethod
    async def admit(self, key: str, rate: Rate, *, patience_seconds: float = 0.0) -> Turn:
        """Ask for the next turn of ``key``, which is taken where it is free within
        ``patience_seconds``: see ``core.rates.give_turn``.

        Those who wait got their turns in the order of asking, and ask no more. A caller that is
        cancelled may have spent one.
        """

    @abstractmethod
    async def enter(self, key: str, body: HolderId, *, limit: int, seconds: float) -> bool:
        """Take or renew the place that ``body`` has at ``key``, for ``seconds``. False where
        ``limit`` others have theirs.

        Who has a place keeps it as long as it is renewed in time, also where ``limit`` has become
        smaller. A place whose process is known to be dead is free.
        """

    @abstractmethod
    async def leave(self, key: str, body: HolderId) -> None:
        """Give the place back. Does nothing where there is none."""
