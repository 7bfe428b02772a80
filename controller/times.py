"""Times and durations as text: how they are read and written."""

from __future__ import annotations

import re
from typing import Final

from controller.errors import InputError

_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(text: str, where: str) -> float:
    """Seconds of a duration such as 1h30m; InputError for what is none."""
    if not _DURATION.fullmatch(text):
        raise InputError(f"{where} {text!r} is no duration: give one such as 15m or 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
