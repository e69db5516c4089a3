"""Logs are one line an event, whatever it holds, and show no secret."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusd_py.logs import LogSettings, build_formatter, configure_logs

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJ2aWRlb19pZCI6MX0.c2lnbmF0dXJlLW9mLXRva2Vu"


def rendered(
    message: str,
    *,
    form: Literal["json", "console"] = "json",
    exc: BaseException | None = None,
    request_id: str | None = None,
    **extra: Any,
) -> str:
    record = logging.getLogger("tusd_py.test").makeRecord(
        "tusd_py.test",
        logging.INFO,
        __file__,
        1,
        message,
        (),
        None if exc is None else (type(exc), exc, exc.__traceback__),
        extra=extra,
    )
    return build_formatter(LogSettings(format=form), lambda: request_id).format(record)


def test_an_event_is_a_json_object_with_its_fields() -> None:
    """Fields of ``extra`` stand beside event, level, logger, time and request id."""
    event = json.loads(rendered("upload_finished", upload_id="a1", bytes=5, request_id="r7"))
    assert event["event"] == "upload_finished"
    assert (event["upload_id"], event["bytes"], event["request_id"]) == ("a1", 5, "r7")
    assert (event["level"], event["logger"]) == ("info", "tusd_py.test")
    assert event["timestamp"].endswith("Z")


def test_records_of_other_libraries_are_rendered_alike() -> None:
    """A message with arguments, as libraries write it, becomes an event too."""
    record = logging.LogRecord("lib", logging.WARNING, "f", 1, "took %d ms", (7,), None)
    text = build_formatter(LogSettings(format="json"), lambda: None).format(record)
    assert json.loads(text)["event"] == "took 7 ms"


@given(text=st.text(), form=st.sampled_from(["json", "console"]))
def test_no_text_of_a_client_starts_a_line_or_steers_a_terminal(text: str, form: Any) -> None:
    """Whatever a field holds, what comes out is one line without control characters."""
    line = rendered("event", form=form, label=text)
    assert len(line.splitlines()) == 1
    assert not any(ord(c) < 32 or 0x7F <= ord(c) <= 0x9F for c in line)


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_token_is_hidden_wherever_it_stands(form: Any) -> None:
    """In a field of its name, in the middle of a text, after Bearer, in a nested value."""
    line = rendered(
        f"saw {TOKEN}",
        form=form,
        token=TOKEN,
        note=f"Authorization: Bearer {'s3cret-' * 3}",
        nested={"authorization": "apikey 1$ff", "list": [TOKEN]},
    )
    assert "eyJ" not in line
    assert "s3cret" not in line
    assert "1$ff" not in line


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_the_error_and_no_local_variable(form: Any) -> None:
    """Locals hold tokens and metadata; the exception's text is cleaned like any other."""
    try:
        secret_value = "local-secret-in-a-variable"
        raise ValueError(f"bad {TOKEN} \x1b[2J{len(secret_value)}")
    except ValueError as exc:
        line = rendered("failed", form=form, exc=exc)
    assert "ValueError" in line
    # The line of source that raised is shown, the value is not.
    assert line.count("local-secret-in-a-variable") == 0
    assert "eyJ" not in line
    assert "\x1b" not in line


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    before, level = list(logger.handlers), logger.level
    yield logger
    logging.captureWarnings(False)
    logger.handlers[:] = before
    logger.setLevel(level)


def test_configured_logs_go_to_the_stream_from_the_level_on(root: logging.Logger) -> None:
    """What is less important than the level is not written."""
    stream = io.StringIO()
    configure_logs(LogSettings(level="warning", format="json"), stream=stream)
    logging.getLogger("tusd_py.test").info("too_small")
    logging.getLogger("tusd_py.test").warning("shown")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["shown"]


def test_logs_are_configured_for_standard_error_by_default(root: logging.Logger) -> None:
    """Standard output is for people and scripts that read a command's result."""
    configure_logs(LogSettings())
    handler = root.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    assert handler.stream is sys.stderr
