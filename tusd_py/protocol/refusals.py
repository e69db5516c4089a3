"""What the refusals of all protocols have in common: their status, and when to come again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tusd_py.core import errors as e
from tusd_py.core.errors import UploadError
from tusd_py.protocol import headers as h
from tusd_py.protocol.answers import Header
from tusd_py.protocol.ranges import build_unsatisfied_range

PLATFORM: Final = (e.TokenInvalid, e.VideoMismatch, e.ClientMismatch)
"""The platform's refusals: an operator may give all of them one status."""
HEAD_RETRY_SECONDS: Final = 1.0
NO_STORE: Final[Header] = (h.CACHE_CONTROL, "no-store")


@dataclass(frozen=True, slots=True)
class Statuses:
    """One protocol's table."""

    table: Mapping[type[UploadError], int]
    """Every error's; ``GateRefused`` brings its own, this is what counts where that is none."""
    on_head: frozenset[int]
    """What a HEAD may be refused with; instead of all else it is told to come again (423): clients
    start from byte 0 after other answers."""

    def of(self, error: UploadError, refusal_status: int | None) -> int:
        """The status of ``error``; ``refusal_status`` is the operator's for token refusals."""
        if refusal_status is not None and isinstance(error, PLATFORM):
            return refusal_status
        if isinstance(error, e.GateRefused) and 400 <= error.status <= 599:
            return error.status
        # A service may have an error of its own that says more to it, and the same to a client.
        return next(self.table[kind] for kind in type(error).__mro__ if kind in self.table)

    def judge(
        self, error: UploadError, *, method: str, refusal_status: int | None
    ) -> tuple[int, tuple[Header, ...]]:
        """The status, and the headers that it has in every protocol. ``method``: the effective
        one."""
        status = self.of(error, refusal_status)
        retry_seconds = error.retry_after_seconds
        if method == "HEAD" and status not in self.on_head:
            # Its own status where the operator's is none that a HEAD may have.
            status = self.of(error, None)
            if status not in self.on_head:
                status = 423
                retry_seconds = retry_seconds or HEAD_RETRY_SECONDS
        headers: list[Header] = []
        if retry_seconds is not None:
            headers.append((h.RETRY_AFTER, h.build_retry_after(retry_seconds)))
        if status == 401:
            headers.append((h.WWW_AUTHENTICATE, "Bearer"))
        if method == "HEAD":
            headers.append(NO_STORE)
        if isinstance(error, e.MethodNotAllowed):
            headers.append((h.ALLOW, ", ".join(error.allowed)))
        if isinstance(error, e.RangeUnsatisfiable):
            headers.append((h.CONTENT_RANGE, build_unsatisfied_range(error.length)))
        return status, tuple(headers)
