"""Logs: standard logging everywhere, rendered here as JSON lines or for a console.

An event is a name with fields (``log.info("upload_finished", extra={"upload_id": …})``); records
of other libraries get the same form. Control characters are escaped, because text of clients must
not forge a line or steer a terminal; what looks like a token is cut, whoever logged it.
"""

import logging
import logging.config
import re
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor

from tusd_py.settings import Settings

RequestId = Callable[[], str | None]
EventFields = MutableMapping[str, Any]

HIDDEN: Final = "***"
SECRET_FIELDS: Final = frozenset(
    {"token", "authorization", "secret", "password", "cookie", "api_key", "private_key"}
)
_TOKEN = re.compile(r"eyJ[\w-]{5,}\.[\w-]*(?:\.[\w-]*)?|(?<=[Bb]earer )[\w.~+/=-]{8,}", re.ASCII)
# Everything that starts a new line or a terminal sequence somewhere, C1 and Unicode's own included.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_CONTROL_BUT_NEWLINE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]")


class LogSettings(Settings):
    """What is logged, and in which form. It goes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important level that is logged."""
    format: Literal["console", "json"] = "console"
    """One line for people, or one JSON object a line for machines."""


def configure_logs(
    settings: LogSettings, *, request_id: RequestId = lambda: None, stream: TextIO | None = None
) -> None:
    """Render every record of this process, from now on, to ``stream`` (standard error)."""
    target = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(target)
    handler.setFormatter(build_formatter(settings, request_id, colors=target.isatty()))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.level.upper())
    # Its INFO is a line a request, which our own access event says better; DEBUG names selectors.
    logging.getLogger("asyncio").setLevel(max(logging.INFO, root.level))
    logging.captureWarnings(True)


def build_formatter(
    settings: LogSettings, request_id: RequestId, *, colors: bool = False
) -> ProcessorFormatter:
    """The formatter alone: all of the rendering, no global state."""

    def add_request_id(_: Any, __: str, event: EventFields) -> EventFields:
        if "request_id" not in event and (present := request_id()) is not None:
            event["request_id"] = present
        return event

    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        add_request_id,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[Processor] = [ProcessorFormatter.remove_processors_meta]
    if settings.format == "json":
        # Local variables would print tokens and metadata.
        tracebacks = ExceptionDictTransformer(show_locals=False)
        last += [
            structlog.processors.ExceptionRenderer(tracebacks),
            hide_secrets,
            escape_controls,
            structlog.processors.JSONRenderer(default=str),
        ]
    else:
        last += [
            structlog.processors.format_exc_info,
            hide_secrets,
            escape_controls,
            structlog.dev.ConsoleRenderer(
                colors=colors, pad_event_to=28, exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    return ProcessorFormatter(foreign_pre_chain=shared, processors=last)


def hide_secrets(_: Any, __: str, event: EventFields) -> EventFields:
    """A processor: no field named like a secret, and nothing that looks like a token."""
    return {key: _without_secrets(key, value) for key, value in event.items()}


def _without_secrets(key: str, value: Any) -> Any:
    if key.lower() in SECRET_FIELDS and value is not None:
        return HIDDEN
    if isinstance(value, str):
        # Two plain looks first: nearly every value has neither, and this runs for each of them.
        return _TOKEN.sub(HIDDEN, value) if "eyJ" in value or "earer " in value else value
    if isinstance(value, dict):
        return {k: _without_secrets(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets("", v) for v in value]
    if value is None or isinstance(value, int | float):
        return value
    return _TOKEN.sub(HIDDEN, str(value))


def escape_controls(_: Any, __: str, event: EventFields) -> EventFields:
    """A processor: control characters become visible; a rendered traceback keeps its lines."""
    return {
        _escaped(key, _CONTROL): _escaped(
            value, _CONTROL_BUT_NEWLINE if key in ("exception", "stack") else _CONTROL
        )
        for key, value in event.items()
    }


def _escaped(value: Any, pattern: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        if value.isprintable():  # then nothing of either pattern is in it
            return value
        return pattern.sub(lambda found: ascii(found[0])[1:-1], value)
    if isinstance(value, dict):
        return {_escaped(k, pattern): _escaped(v, pattern) for k, v in value.items()}
    if isinstance(value, list):
        return [_escaped(v, pattern) for v in value]
    return value
