"""Every error that azpolicy raises on purpose, as one tree.

    AzpolicyError
    ├── InputError      a file, a setting or an option is wrong: the user corrects it
    ├── SourceError     what Azure (or a snapshot) says could not be read whole: the last good state stays
    ├── ClusterError    the Kubernetes API could not be reached or refused: try again later
    └── Refused         we could, but must not: another cluster's id, a prune over the limit
        └── OtherInstallation   the cluster belongs to another azpolicy: its PolicySync is not ours to write, either

Library exceptions are chained and do not leave their room. Messages are one line and say what to do.
"""

from __future__ import annotations

from controller.text import one_line


class AzpolicyError(Exception):
    """The root: `str()` is one line for the user."""

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


class InputError(AzpolicyError):
    """A file, setting or option cannot be used; the message names it and says what to do."""


class SourceError(AzpolicyError):
    """The source could not be read whole; nothing of it may be used."""


class ClusterError(AzpolicyError):
    """A call to the Kubernetes API failed; `status` is its HTTP status, 0 when there was no answer."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class Refused(AzpolicyError):  # noqa: N818 - a refusal is a decision, not a fault
    """Deliberately not done; the message says how to force it."""


class OtherInstallation(Refused):
    """The cluster belongs to another azpolicy; nothing in it is ours to write, not even a status."""
