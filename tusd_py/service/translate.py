"""Faults of back ends become refusals here, once, with their causes kept."""

from collections.abc import Iterator
from contextlib import contextmanager

from tusd_py.core.errors import (
    LeaseLost,
    StateUnavailable,
    StorageFailed,
    StorageFull,
    UploadLocked,
    UploadUnknown,
)
from tusd_py.state.base import LeaseBusy, LeaseGone, RecordUnknown, StateError, StateFull
from tusd_py.stores.base import StoreError, StoreFull


@contextmanager
def translated() -> Iterator[None]:
    """What stores and state raise, as an UploadError that a protocol has a status for."""
    try:
        yield
    except LeaseBusy as exc:
        raise UploadLocked(max(exc.retry_after_seconds, 0.1)) from exc
    except LeaseGone as exc:
        raise LeaseLost() from exc
    except RecordUnknown as exc:
        raise UploadUnknown() from exc
    except (StateFull, StoreFull) as exc:
        raise StorageFull() from exc
    except StateError as exc:
        raise StateUnavailable() from exc
    except StoreError as exc:
        raise StorageFailed() from exc
