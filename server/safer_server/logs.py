"""Logging: one configuration for the whole process, for people or as JSON, and no content in either.

A line says whose request it belongs to. What callers write may hide in the messages of errors, so that a traceback within a
request names their types alone.
"""

import json
import logging
import time
import traceback
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from safer_server.settings import Settings

REQUEST: ContextVar[Mapping[str, Any]] = ContextVar("request", default=MappingProxyType({}))
"""The ASGI state of the request in hand, empty where there is none."""

_TOLD = ("request_id", "caller", "trace_id", "span_id")
"""What of that state a line tells."""


def log_config(settings: Settings) -> dict[str, Any]:
    """Write the configuration as `logging.config.dictConfig` and uvicorn take it."""
    level = settings.log_level.upper()
    handler = {"class": "logging.StreamHandler", "filters": ["request"], "formatter": "line"}
    ours = {"level": level, "handlers": ["ours"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request": {"()": RequestFilter}},
        "formatters": {"line": {"()": JsonFormatter if settings.log_format == "json" else HumanFormatter}},
        # Other people's debug lines hold whole requests, whatever they are told by variables of their own.
        "handlers": {"ours": handler, "others": {**handler, "level": "WARNING"}},
        "loggers": {
            "safer_server": ours,
            "safer_protocol": ours,
            "uvicorn": ours,
            "uvicorn.access": {"propagate": False},  # the edge writes that, with ids and durations and without queries
        },
        "root": {"level": "WARNING", "handlers": ["others"]},
    }


class RequestFilter(logging.Filter):
    """Adds whose request a line belongs to, and takes out what may be content."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every line pass."""
        state = REQUEST.get()
        request = {name: state[name] for name in _TOLD if state.get(name) is not None}
        vars(record)["request"] = request
        # What asyncio says of forgotten tasks comes later, outside of their request, with the error in the message.
        is_late = record.name == "asyncio"
        if is_late:
            record.msg = str(record.msg).partition("\n")[0]
        if (is_late or request) and record.exc_info and record.exc_info[1]:
            record.exc_text = "\n".join(_stacks(record.exc_info[1], set()))
        return True


class _UtcFormatter(logging.Formatter):
    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"


class HumanFormatter(_UtcFormatter):
    """Time, level, logger and message, then the request."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-8s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Put the request behind the message, before a traceback."""
        request = " ".join(f"{name}={value}" for name, value in _request_of(record).items())
        return super().formatMessage(record) + (f" [{request}]" if request else "")


class JsonFormatter(_UtcFormatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a line."""
        line = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_request_of(record),
            **getattr(record, "access", {}),
        }
        if record.exc_info:
            line["traceback"] = record.exc_text or self.formatException(record.exc_info)
        return json.dumps(line)


def _request_of(record: logging.LogRecord) -> dict[str, str]:
    found: dict[str, str] = getattr(record, "request", {})
    return found


def _stacks(error: BaseException, seen: set[int]) -> Iterator[str]:
    """Write a traceback with what led to it, without any error's message."""
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _stacks(before, seen)
        yield "which led to:"
    yield "Traceback (most recent call last):"
    yield from (frame.rstrip() for frame in traceback.format_tb(error.__traceback__))
    yield f"{type(error).__module__}.{type(error).__qualname__}"
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _stacks(member, seen)
