"""Logging of the operator: one line per event on stderr, key=value, levels and times in front."""

from __future__ import annotations

import logging
import sys
import time


class _Formatter(logging.Formatter):
    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.exc_info else "".join(c if c.isprintable() else " " for c in text)


def start_logging(level: str) -> None:
    """Sends our own lines at `level`, and what libraries warn of, to stderr; call once."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # azure-identity warns of each failed token in several lines; the reader tells it in one.
    logging.getLogger("azure").setLevel(logging.ERROR)
    for name in ("azpolicy", "controller"):
        logging.getLogger(name).setLevel(level.upper())
