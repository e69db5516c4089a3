"""Figures are counted under labels that could all be listed."""

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tusd_py.core.events import EventKind
from tusd_py.core.upload import Status
from tusd_py.metrics import Metrics, Standing, error_codes
from tusd_py.service.observer import Observer
from tusd_py.state.base import StateFault
from tusd_py.streams import SourceEnd, StopReason


def samples(metrics: Metrics, standing: Standing | None = None) -> dict[str, float]:
    page = metrics.render(standing or Standing()).decode()
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_metrics_observe_all_that_services_count() -> None:
    """Every method of the observer shows on the page."""
    metrics = Metrics(hooks=["encoder"])
    observer: Observer = metrics
    observer.upload_event(EventKind.COMPLETED)
    observer.appends_running(2)
    observer.appends_running(-1)
    observer.append_ended(SourceEnd.COMPLETE, 1000, 0.5)
    observer.append_ended(StopReason.ASKED, 24, 0.5)
    observer.lease_waited(0.02, True)
    observer.reconciled(7)
    observer.delivered("encoder", "taken")
    observer.gate_asked("encoder", "refused", 0.1)
    observer.creation_limited("held")
    observer.bodies_slowed(3)
    observer.bodies_slowed(-1)
    observer.swept("expired")
    observer.state_fault(StateFault.AWAY)
    metrics.request_answered("PATCH", 204, None, 0.2)
    metrics.stream_ended("download", "cut", 77)
    found = samples(metrics)
    expected = {
        "tusd_py_upload_events_total[('kind', 'upload.completed')]": 1,
        "tusd_py_appends_running[]": 1,
        "tusd_py_received_bytes_total[]": 1024,
        "tusd_py_appends_total[('end', 'asked')]": 1,
        "tusd_py_lease_wait_seconds_count[('granted', 'yes')]": 1,
        "tusd_py_reconciles_total[]": 1,
        "tusd_py_lost_bytes_total[]": 7,
        "tusd_py_deliveries_total[('hook', 'encoder'), ('outcome', 'taken')]": 1,
        "tusd_py_gate_seconds_count[('hook', 'encoder'), ('outcome', 'refused')]": 1,
        "tusd_py_creations_limited_total[('outcome', 'held')]": 1,
        "tusd_py_bodies_slowed[]": 2,
        "tusd_py_swept_total[('what', 'expired')]": 1,
        "tusd_py_state_faults_total[('kind', 'away')]": 1,
        "tusd_py_requests_total[('code', ''), ('method', 'PATCH'), ('status', '204')]": 1,
        "tusd_py_request_seconds_count[('method', 'PATCH')]": 1,
        "tusd_py_streams_total[('end', 'cut'), ('kind', 'download')]": 1,
        "tusd_py_sent_bytes_total[('kind', 'download')]": 77,
    }
    assert {name: found.get(name) for name in expected} == expected


def test_what_a_client_invents_never_becomes_a_label() -> None:
    """Unknown methods, codes, hooks and outcomes count together."""
    metrics = Metrics(hooks=["encoder"])
    before = len(samples(metrics))
    for number in range(50):
        metrics.request_answered(f"M{number}", 10_000 + number, f"E{number}", 0.1)
        metrics.delivered(f"hook{number}", f"outcome{number}")
        metrics.gate_asked(f"hook{number}", f"outcome{number}", 0.1)
        metrics.swept(f"what{number}")
        metrics.creation_limited(f"outcome{number}")
        metrics.stream_ended(f"kind{number}", f"end{number}", 1)
    one_of_each = Metrics(hooks=["encoder"])
    one_of_each.request_answered("M", 10_000, "E", 0.1)
    one_of_each.delivered("x", "x")
    one_of_each.gate_asked("x", "x", 0.1)
    one_of_each.swept("x")
    one_of_each.creation_limited("x")
    one_of_each.stream_ended("x", "x", 1)
    assert before < len(samples(metrics)) == len(samples(one_of_each))


def test_every_refusal_has_its_own_code_on_the_page() -> None:
    """The codes of the errors are the labels."""
    metrics = Metrics()
    assert "ERR_UPLOAD_LOCKED" in error_codes()
    metrics.request_answered("HEAD", 423, "ERR_UPLOAD_LOCKED", 0.1)
    name = "tusd_py_requests_total[('code', 'ERR_UPLOAD_LOCKED'), ('method', 'HEAD'), "
    assert samples(metrics)[name + "('status', '423')]"] == 1


def test_the_standing_is_shown_for_every_status_and_configured_hook() -> None:
    """Zeros included; hooks of former configurations count together."""
    standing = Standing(
        uploads={Status.RECEIVING: 3}, backlog={"encoder": 2, "old": 4, "older": 5}, free_bytes=99
    )
    found = samples(Metrics(hooks=["encoder", "mail"]), standing)
    assert found["tusd_py_uploads[('status', 'receiving')]"] == 3
    assert found["tusd_py_uploads[('status', 'complete')]"] == 0
    assert found["tusd_py_outbox_backlog[('hook', 'encoder')]"] == 2
    assert found["tusd_py_outbox_backlog[('hook', 'mail')]"] == 0
    assert found["tusd_py_outbox_backlog[('hook', 'other')]"] == 9
    assert found["tusd_py_store_free_bytes[]"] == 99


COUNT_IN_A_PROCESS = """
from tusd_py.core.events import EventKind
from tusd_py.metrics import Metrics, Standing
metrics = Metrics()
metrics.upload_event(EventKind.CREATED)
print(metrics.render(Standing()).decode())
"""


def test_processes_that_share_a_directory_are_added_up(tmp_path: Path) -> None:
    """Whichever worker is asked tells of all of them, of those that ended too."""
    pages = [
        subprocess.run(
            [sys.executable, "-c", COUNT_IN_A_PROCESS],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        ).stdout
        for _ in range(3)
    ]
    assert 'tusd_py_upload_events_total{kind="upload.created"} 3.0' in pages[-1]
