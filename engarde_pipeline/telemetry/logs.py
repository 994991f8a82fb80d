"""The log of every process: one JSON object per line with ENGARDE_LOG_FORMAT=json, otherwise readable lines.

Dagster configures logging itself, when a process starts and again for each run. So the handlers that it adds are
given our formatters: after its calls of `logging.config.dictConfig`, and when it creates the logger of a run.
"""

import json
import logging
import logging.config
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Literal

from engarde_pipeline.telemetry.redaction import redact

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message", "taskName"}
"""The attributes of every record; others were passed as `extra`."""

_DAGSTER = "dagster_meta"
"""The attribute with which Dagster marks a record of a run or a tick; its JSON logger documents it."""

_OWN = ("engarde", "engarde_pipeline", "dagster")
_DAGSTERS = ("dagster", "dagit", "dagster-webserver")
"""The loggers that Dagster gives handlers of their own."""

_RUN_TAGS = {"engarde/tenant": "tenant", "engarde/request_id": "request_id"}

_NOTICES = {
    # In a checkout, whose dagster.yaml `engarde dev` copies to DAGSTER_HOME.
    "dagster": re.compile("Found a dagster instance configuration value"),
    # At the first start of each daemon.
    "dagster.daemon.EventLogConsumerDaemon": re.compile("No cursor for event type"),
    # Twice a minute for each sensor that has nothing to do.
    "dagster.daemon.SensorDaemon": re.compile(
        r"Checking for new runs for sensor|No run requests returned for|Sensor \S+ skipped: "
    ),
}
"""Messages of Dagster's, by logger, that are never the business of who reads the log; they are not logged."""

_NO_FIELDS: Mapping[str, object] = MappingProxyType({})
_context: ContextVar[Mapping[str, object]] = ContextVar("log_context", default=_NO_FIELDS)
_format: Literal["text", "json"] | None = None


@contextmanager
def log_context(**fields: object) -> Iterator[None]:
    """Add fields to all lines that are logged within the block; those that are None are left out."""
    before = _context.get()
    _context.set({**before, **{name: value for name, value in fields.items() if value is not None}})
    try:
        yield
    finally:
        _context.set(before)


def add_to_log_context(**fields: object) -> None:
    """Add fields to all lines that are logged until the end of the current block of `log_context`."""
    _context.set({**_context.get(), **fields})


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object on one line, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields: dict[str, object] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_context.get(),
            **_extra(record),
            **_fields_of_dagster(getattr(record, _DAGSTER, None)),
        }
        if record.exc_info and record.exc_info[0]:
            fields["exception"] = "".join(traceback.format_exception(*record.exc_info)).rstrip()
        if record.stack_info:
            fields["stack"] = record.stack_info
        return json.dumps({name: _value(value) for name, value in fields.items() if value is not None})


class RedactingFormatter(logging.Formatter):
    """Formats a record as another formatter does, without secrets."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self._formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or the lines of an exception."""
        return redact(self._formatter.format(record))


def configure_logs(*, console: bool = False) -> None:
    """Configure the log of this process, once, in the format of ENGARDE_LOG_FORMAT, which `settings` checks.

    `console` also prints readable lines of our own loggers, in processes in which Dagster does not.
    """
    global _format
    if _format:
        return
    _format = "json" if os.environ.get("ENGARDE_LOG_FORMAT") == "json" else "text"
    logging.config.dictConfigClass = _Configurator  # the documented way to extend it
    logging.setLoggerClass(_Logger)
    for name, notices in _NOTICES.items():
        logging.getLogger(name).addFilter(partial(_is_no_notice, notices))
    if is_json() or console:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(TEXT_FORMAT))
        handler.addFilter(_is_not_of_a_run)
        logging.getLogger().addHandler(handler)
        for name in _OWN:
            if logging.getLogger(name).level == logging.NOTSET:
                logging.getLogger(name).setLevel(logging.INFO)
    if is_json():
        sys.excepthook = _log_uncaught
        threading.excepthook = _log_uncaught_in_thread
        logging.captureWarnings(capture=True)
    _adopt_handlers()


def is_json() -> bool:
    """Return whether this process logs JSON."""
    return _format == "json"


class _Configurator(logging.config.DictConfigurator):
    def configure(self) -> None:
        super().configure()
        logging.setLoggerClass(_Logger)  # Dagster has set structlog's
        _adopt_handlers()


class _Logger(logging.Logger):
    """The class of new loggers. Dagster prints a run's log with a logger that it creates for the run."""

    def addHandler(self, hdlr: logging.Handler) -> None:  # noqa: N802  the name in logging
        if self.name == "dagster":
            _adopt(hdlr)
        super().addHandler(hdlr)


def _adopt_handlers() -> None:
    for logger in map(logging.getLogger, _DAGSTERS):
        for handler in list(logger.handlers):
            if is_json() and type(handler) is logging.StreamHandler:
                logger.removeHandler(handler)  # the handler of the root logger prints its lines
            else:
                _adopt(handler)
    for handler in logging.getLogger().handlers:
        _adopt(handler)


def _adopt(handler: logging.Handler) -> None:
    """Give a handler that prints lines our formatter."""
    if not isinstance(handler, logging.StreamHandler) or isinstance(handler, logging.FileHandler):
        return
    formatter = handler.formatter or logging.Formatter()
    if isinstance(formatter, JsonFormatter | RedactingFormatter):
        return
    handler.setFormatter(JsonFormatter() if is_json() else RedactingFormatter(formatter))


def _is_no_notice(notices: re.Pattern[str], record: logging.LogRecord) -> bool:
    return not notices.match(record.getMessage())


def _is_not_of_a_run(record: logging.LogRecord) -> bool:
    # The logger of the run has printed it.
    return not hasattr(record, _DAGSTER)


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {
        name: value
        for name, value in vars(record).items()
        if name not in _STANDARD and not name.startswith("dagster_")
    }


def _fields_of_dagster(metadata: Any) -> dict[str, object]:
    """Return what Dagster knows of a line that a run has logged."""
    if not isinstance(metadata, dict) or "orig_message" not in metadata:
        return {}
    event = metadata.get("dagster_event")
    tags = metadata.get("job_tags") or {}
    error = getattr(getattr(event, "event_specific_data", None), "error", None)
    key = getattr(event, "asset_key", None)
    return {
        "message": metadata["orig_message"],
        "run_id": metadata.get("run_id"),
        "job": metadata.get("job_name"),
        "step": metadata.get("step_key"),
        **{field: tags.get(tag) for tag, field in _RUN_TAGS.items()},
        # Its value is PIPELINE_FAILURE where the UI shows RUN_FAILURE.
        "event": getattr(getattr(event, "event_type", None), "name", None),
        "table": key.path[-1] if key else None,
        "date": getattr(event, "partition", None),
        "exception": error.to_string() if error else None,
    }


def _value(value: object) -> object:
    if isinstance(value, bool | int | float):
        return value
    return redact(str(value))


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("engarde_pipeline").critical(
        "The process ends with an unexpected error: %s", error, exc_info=(kind, error, trace)
    )


def _log_uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value and not issubclass(arguments.exc_type, SystemExit):
        _log_uncaught(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
