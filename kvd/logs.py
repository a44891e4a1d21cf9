"""Logging, configured once, at the door: one event a line on one stream, kvd's own and the libraries' alike.

Events are named ``noun.verbed`` and logged with ``structlog.get_logger().info("feed.connected", venue="deribit")``.
"""

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import Processor

from kvd.config import Log


def configure(log: Log, stream: TextIO | None = None) -> None:
    """Send every log event at or above ``log.level`` to `stream`, standard error by default.

    Format ``auto`` is for people on a terminal and JSON otherwise. Tracebacks never show local variables, which may
    hold secrets.
    """
    stream = stream or sys.stderr
    level = logging.getLevelNamesMapping()[log.level.upper()]
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    structlog.configure(
        processors=[*shared, *_rendering(log, stream)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(log, stream)],
        )
    )
    # Libraries speak up only when something is wrong: websockets logs every handshake at info.
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)


def _rendering(log: Log, stream: TextIO) -> list[Processor]:
    if log.format == "console" or (log.format == "auto" and stream.isatty()):
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(colors=stream.isatty(), timestamp_key="time", exception_formatter=plain)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
