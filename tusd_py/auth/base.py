"""The contract of an authenticator: from a token's text to claims."""

from abc import ABC, abstractmethod
from enum import StrEnum

from tusd_py.core.identity import Claims


class AuthMode(StrEnum):
    """When a token is needed."""

    CREATION = "creation"
    """For a creation; afterwards the unguessable upload URL is the capability."""
    EVERY_REQUEST = "every-request"
    OFF = "off"


class Authenticator(ABC):
    """Tells what a token says, if it can be trusted."""

    @abstractmethod
    async def read_claims(self, token: str | None, *, ignore_expiry: bool = False) -> Claims:
        """The claims of ``token``, stripped of white space. Raises TokenInvalid, never anything
        else for what a token may contain. ``ignore_expiry``: an expired token is as good (it is
        presented again after the creation)."""
