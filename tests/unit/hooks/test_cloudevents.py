"""An event as its receivers see it."""

import json

import pytest

from tests.unit.hooks.events import SOURCE, an_event
from tusd_py.core.events import EventKind
from tusd_py.hooks.cloudevents import build_cloud_event


@pytest.mark.parametrize("kind", list(EventKind))
def test_every_kind_of_event_is_a_cloud_event(kind: EventKind) -> None:
    """All attributes that CloudEvents 1.0 requires, and those that are optional, by name."""
    event = an_event("f" * 32, kind)
    assert json.loads(build_cloud_event(event, source=SOURCE)) == {
        "specversion": "1.0",
        "id": event.id,
        "source": SOURCE,
        "type": kind.value,
        "subject": "f" * 32,
        "time": "2027-01-15T08:00:00.250Z",
        "datacontenttype": "application/json",
        "data": {"upload_id": "f" * 32, "metadata": {"title": "Übung"}},
    }


def test_the_same_event_makes_the_same_bytes() -> None:
    """A receiver may compare what comes twice."""
    assert build_cloud_event(an_event(), source=SOURCE) == build_cloud_event(
        an_event(), source=SOURCE
    )
