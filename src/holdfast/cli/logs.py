"""Logs on stderr: readable on a terminal, one JSON object per line elsewhere. The program's own records come along."""

from __future__ import annotations

import json
import logging
import sys
from enum import StrEnum
from typing import Annotated, Any

import structlog
import typer
from rich.console import Console
from structlog.typing import EventDict, WrappedLogger

from holdfast.cli.output import clean


class LogFormat(StrEnum):
    """How log lines look."""

    AUTO = "auto"
    PRETTY = "pretty"
    JSON = "json"


class LogLevel(StrEnum):
    """The least severe records that are shown."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


LogFormatOption = Annotated[
    LogFormat, typer.Option("--log-format", help="auto: pretty on a terminal, JSON lines elsewhere.")
]
LogLevelOption = Annotated[LogLevel, typer.Option("--log-level", help="The least severe records shown.")]


class StderrHandler(logging.Handler):
    """Writes to what ``sys.stderr`` is at that moment: a live line on the terminal may stand in for it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record as one piece. A reader who is gone, or slow, must not end the worker."""
        try:
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001 - logging's own way with what goes wrong while logging
            self.handleError(record)


def configure_logs(log_format: LogFormat, level: LogLevel) -> None:
    """Send this process's log records, structlog's and the standard library's, to stderr."""
    before: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    pretty = log_format is LogFormat.PRETTY or (log_format is LogFormat.AUTO and sys.stderr.isatty())
    handler = StderrHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_ends(pretty)],
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.value.upper())
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _ends(pretty: bool) -> list[Any]:  # noqa: FBT001 - of two kinds
    if not pretty:
        return [structlog.processors.format_exc_info, _name_fields, structlog.processors.JSONRenderer(serializer=_dump)]
    coloured = Console(stderr=True).color_system is not None
    return [
        structlog.processors.format_exc_info,
        _make_printable,
        structlog.dev.ConsoleRenderer(
            colors=coloured, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
        ),
    ]


def _name_fields(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Time, level and message first, then what else there is."""
    first = {"at": event.pop("timestamp", None), "level": event.pop("level", None), "message": event.pop("event", "")}
    return {**first, **event}


def _make_printable(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Messages quote names and errors that others wrote."""
    stamp = event.pop("timestamp", "")
    shown = {key: clean(value, lines=True) if isinstance(value, str) else value for key, value in event.items()}
    return {"timestamp": stamp[11:19], **shown}


def _dump(event: Any, **options: Any) -> str:
    return json.dumps(event, default=options.get("default", str))
