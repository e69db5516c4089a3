"""One id per request, the client's own where it is harmless: in its answer and its log lines."""

import os
import re
from contextvars import ContextVar
from typing import Final

REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""Set for the time of a request; None outside of one."""

_HARMLESS: Final = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


def choose_request_id(offered: str | None) -> str:
    """``offered`` where it can neither end a line nor flood a log, else a new one."""
    if offered is not None and _HARMLESS.fullmatch(offered):
        return offered
    return os.urandom(12).hex()


def present_request_id() -> str | None:
    """The id of the request that runs now, for the formatter of the logs."""
    return REQUEST_ID.get()
