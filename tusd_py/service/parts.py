"""What the services are made of."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tusd_py.service.gates import Gates
from tusd_py.service.observer import Observer
from tusd_py.service.settings import LimitSettings, UploadSettings
from tusd_py.state.base import UploadState
from tusd_py.state.quotas import Quotas
from tusd_py.stores.base import ByteStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Back ends, bounds and clocks, as ``compose`` puts them together, once."""

    state: UploadState
    store: ByteStore
    gates: Gates
    settings: UploadSettings
    observer: Observer
    now: Callable[[], float]
    """Unix time."""
    randomness: Callable[[int], bytes]
    destination: str | None = None
    """Template of the place of finished files; None: they stay where they are."""
    limits: LimitSettings = field(default_factory=LimitSettings)
    quotas: Quotas | None = None
    """Where limits are kept; needed where one is set."""

    @property
    def need_quotas(self) -> Quotas:
        if self.quotas is None:
            raise ValueError("a limit is set and there is nothing that keeps quotas")
        return self.quotas
