"""What is counted, for Prometheus. Labels come from lists; nothing a client sends becomes one.

One process keeps its figures in memory. Several worker processes of one server keep them in files
of a directory that the supervisor made (``PROMETHEUS_MULTIPROC_DIR``, which prometheus_client
reads when it is imported), and whichever of them is asked adds up all of them.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from tusd_py.core.errors import UploadError
from tusd_py.core.events import EventKind
from tusd_py.core.upload import Status
from tusd_py.state.base import StateFault
from tusd_py.streams import SourceEnd, StopReason

SHARED_DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
OTHER: Final = "other"
METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PATCH", "PUT", "DELETE"})
DELIVERIES: Final = frozenset({"taken", "failed", "buried"})
STREAMS: Final = frozenset({"download", "events"})
STREAM_ENDS: Final = frozenset({"whole", "cut", "failed"})
LIMITED: Final = frozenset({"held", "delayed", "refused"})
DECISIONS: Final = frozenset({"allowed", "refused", "failed"})
SWEPT: Final = frozenset(
    {"adopted", "expired", "finished", "orphan", "retired", "settled", "terminated", "undecided"}
)
# Answers of requests without a body; a PATCH lasts as long as its body does.
REQUEST_BUCKETS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)
WAIT_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10)
GATE_BUCKETS: Final = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60)


def error_codes() -> frozenset[str]:
    """The code of every refusal there is."""
    found: set[str] = set()
    todo: list[type[UploadError]] = [UploadError]
    while todo:
        error = todo.pop()
        todo.extend(error.__subclasses__())
        if code := getattr(error, "code", None):
            found.add(code)
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Standing:
    """What is so just now, asked of state and store at each scrape."""

    uploads: Mapping[Status, int] = field(default_factory=dict)
    backlog: Mapping[str, int] = field(default_factory=dict)
    free_bytes: int | None = None


class Metrics:
    """All instruments of one process; ``service.observer.Observer`` and the HTTP requests."""

    def __init__(self, hooks: Sequence[str] = ()) -> None:
        self._hooks = frozenset(hooks)
        self._codes = error_codes()
        self._registry = CollectorRegistry()
        self._is_shared = SHARED_DIRECTORY in os.environ
        if not self._is_shared:
            ProcessCollector(registry=self._registry)
            PlatformCollector(registry=self._registry)
            GCCollector(registry=self._registry)
        self._make_request_instruments()
        self._make_upload_instruments()
        self._make_work_instruments()

    def _make_request_instruments(self) -> None:
        self._requests = self._counter(
            "tusd_py_requests", "Requests that were answered.", ("method", "status", "code")
        )
        self._request_seconds = self._histogram(
            "tusd_py_request_seconds", "From request line to answer.", ("method",), REQUEST_BUCKETS
        )

        self._streams = self._counter(
            "tusd_py_streams", "Downloads and event streams, by how they ended.", ("kind", "end")
        )
        self._sent = self._counter(
            "tusd_py_sent_bytes", "Bytes of downloads and event streams.", ("kind",)
        )

    def _make_upload_instruments(self) -> None:
        self._events = self._counter(
            "tusd_py_upload_events", "Uploads created, completed and so on.", ("kind",)
        )
        self._received = self._counter("tusd_py_received_bytes", "Bytes of uploads stored.")
        self._running = Gauge(
            "tusd_py_appends_running",
            "Bodies being written now.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._appends = self._counter(
            "tusd_py_appends", "Bodies written, by why they ended.", ("end",)
        )
        self._limited = self._counter(
            "tusd_py_creations_limited",
            "Creations faster than their client may, by what became of them.",
            ("outcome",),
        )
        self._slowed = Gauge(
            "tusd_py_bodies_slowed",
            "Bodies read slowly now because their client has so many.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._lease_seconds = self._histogram(
            "tusd_py_lease_wait_seconds", "Waits for another writer.", ("granted",), WAIT_BUCKETS
        )
        self._reconciles = self._counter(
            "tusd_py_reconciles", "Bytes and record compared after an unclean end."
        )
        self._lost = self._counter(
            "tusd_py_lost_bytes", "Acknowledged bytes that were gone. Should be 0."
        )

    def _make_work_instruments(self) -> None:
        self._deliveries = self._counter(
            "tusd_py_deliveries", "Events handed to hooks.", ("hook", "outcome")
        )
        self._gate_seconds = self._histogram(
            "tusd_py_gate_seconds", "Questions to gates.", ("hook", "outcome"), GATE_BUCKETS
        )
        self._state_faults = self._counter(
            "tusd_py_state_faults", "The state store was away, refused, or lost data.", ("kind",)
        )
        self._sweeps = self._counter("tusd_py_swept", "What the sweeper did.", ("what",))

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _histogram(
        self, name: str, text: str, labels: Sequence[str], buckets: Sequence[float]
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self._registry)

    def request_answered(self, method: str, status: int, code: str | None, seconds: float) -> None:
        """One request was answered; ``code`` is the refusal's, None where there is none."""
        known = method if method in METHODS else OTHER
        status_label = str(status) if 100 <= status <= 599 else OTHER
        code_label = "" if code is None else _one_of(code, self._codes)
        self._requests.labels(known, status_label, code_label).inc()
        self._request_seconds.labels(known).observe(seconds)

    def stream_ended(self, kind: str, end: str, sent_bytes: int) -> None:
        """One answer that was sent bit by bit is over."""
        kind_label = _one_of(kind, STREAMS)
        self._streams.labels(kind_label, _one_of(end, STREAM_ENDS)).inc()
        self._sent.labels(kind_label).inc(sent_bytes)

    def upload_event(self, kind: EventKind) -> None:
        self._events.labels(kind.value).inc()

    def append_ended(
        self, end: SourceEnd | StopReason, received_bytes: int, seconds: float
    ) -> None:
        self._appends.labels(end.value).inc()
        self._received.inc(max(0, received_bytes))

    def appends_running(self, change: int) -> None:
        self._running.inc(change)

    def lease_waited(self, seconds: float, granted: bool) -> None:
        self._lease_seconds.labels("yes" if granted else "no").observe(seconds)

    def reconciled(self, lost_bytes: int) -> None:
        self._reconciles.inc()
        self._lost.inc(max(0, lost_bytes))

    def delivered(self, hook: str, outcome: str) -> None:
        self._deliveries.labels(_one_of(hook, self._hooks), _one_of(outcome, DELIVERIES)).inc()

    def gate_asked(self, hook: str, outcome: str, seconds: float) -> None:
        labels = _one_of(hook, self._hooks), _one_of(outcome, DECISIONS)
        self._gate_seconds.labels(*labels).observe(seconds)

    def creation_limited(self, outcome: str) -> None:
        self._limited.labels(_one_of(outcome, LIMITED)).inc()

    def bodies_slowed(self, change: int) -> None:
        self._slowed.inc(change)

    def swept(self, what: str) -> None:
        self._sweeps.labels(_one_of(what, SWEPT)).inc()

    def state_fault(self, fault: StateFault) -> None:
        """The state store itself failed, or is another one than before."""
        self._state_faults.labels(fault.value).inc()

    def render(self, standing: Standing) -> bytes:
        """The page of figures. Reads files where several processes share them: not on the loop."""
        page = CollectorRegistry()
        if self._is_shared:
            MultiProcessCollector(page)  # type: ignore[no-untyped-call]
        page.register(_StandingCollector(standing, self._hooks))
        text = generate_latest(page)
        return text if self._is_shared else generate_latest(self._registry) + text


class _StandingCollector(Collector):
    """Gauges that are asked for, not counted."""

    def __init__(self, standing: Standing, hooks: Collection[str]) -> None:
        self._standing = standing
        self._hooks = hooks

    def collect(self) -> Iterator[Metric]:
        uploads = GaugeMetricFamily("tusd_py_uploads", "Uploads by status.", labels=["status"])
        for status in Status:
            uploads.add_metric([status.value], self._standing.uploads.get(status, 0))
        yield uploads
        waiting = GaugeMetricFamily(
            "tusd_py_outbox_backlog", "Events that a hook has not taken yet.", labels=["hook"]
        )
        for hook, count in self._sum_of_others().items():
            waiting.add_metric([hook], count)
        yield waiting
        if self._standing.free_bytes is not None:
            yield GaugeMetricFamily(
                "tusd_py_store_free_bytes",
                "Free space where the bytes lie.",
                value=self._standing.free_bytes,
            )

    def _sum_of_others(self) -> dict[str, int]:
        """Hooks that are not configured any more count together: names stay bounded."""
        counts = dict.fromkeys(sorted(self._hooks), 0)
        for hook, count in self._standing.backlog.items():
            name = _one_of(hook, self._hooks)
            counts[name] = counts.get(name, 0) + count
        return counts


def _one_of(value: str, known: Collection[str]) -> str:
    return value if value in known else OTHER
