"""What happens, reported once: a line of the log, a count in the metrics, and news for the reporter."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from controller.cluster.apply import WRITE_ACTIONS
from controller.report.conditions import Mode
from controller.report.events import EventDraft

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.cluster.apply import ChangeSet, Result
    from controller.gatekeeper.model import DesiredObject, ObjectRef
    from controller.report.metrics import Metrics
    from controller.report.reporter import Reporter

log = logging.getLogger("azpolicy")
_DIFFERENCES: Final = 8
_CONTENDED: Final = "somebody keeps changing it back, so repairs are delayed: find the other controller, and stop it"


class Journal:
    """Remembers what was reported, and what was carried out, and so separates drift from a change in Azure."""

    def __init__(self, metrics: Metrics, reporter: Reporter) -> None:
        self._metrics = metrics
        self._reporter = reporter
        self._told: dict[ObjectRef, Result] = {}
        self._wanted: Mapping[ObjectRef, DesiredObject] = {}
        self._carried: dict[ObjectRef, str] = {}
        self._news: list[tuple[Result, bool]] = []
        self._fought: frozenset[ObjectRef] = frozenset()

    def want(self, wanted: Mapping[ObjectRef, DesiredObject]) -> None:
        """What is asked for from now on."""
        self._wanted = wanted

    def carried(self, outcome: ChangeSet) -> None:
        """All that is asked for was carried out once, but for problems: what differs from now on is drift.

        What was told of objects that the outcome no longer knows is forgotten.
        """
        known = {result.ref for result in outcome.results}
        self._told = {ref: told for ref, told in self._told.items() if ref in known}
        failed = {result.ref for result in outcome.problems}
        done = {ref: wanted.digest for ref, wanted in self._wanted.items() if ref not in failed}
        self._carried = {**{ref: self._carried[ref] for ref in failed & self._carried.keys()}, **done}

    def tell(self, result: Result, mode: Mode) -> bool:
        """One line for each change, with what differed; a lasting result is logged once. Whether drift was repaired."""
        wrote = result.action in WRITE_ACTIONS
        if self._told.get(result.ref) == result:
            return False
        cause = self._cause(result.ref)
        if wrote and mode is Mode.ENFORCE:
            self._told.pop(result.ref, None)
            self._metrics.changed(result, cause=cause)
        else:
            self._told[result.ref] = result
        self._news.append((result, cause == "drift"))
        if wrote or result.reason:
            level = logging.INFO if wrote else logging.WARNING
            log.log(level, "%s", _line(result, cause, would=mode is not Mode.ENFORCE))
        return wrote and cause == "drift" and mode is Mode.ENFORCE

    def send(self) -> None:
        """Passes on what was reported since the last time: many changes of one sync become one report."""
        news, self._news = self._news, []
        self._reporter.told(news)

    def fights(self, fighting: frozenset[ObjectRef]) -> None:
        """Tells which objects somebody else keeps changing back now: the start of each fight, and its end."""
        for ref in sorted(fighting - self._fought):
            log.warning("fight over %s: somebody keeps changing it back; repairs are delayed", ref)
            self._reporter.add_event(EventDraft(ref, "", "Fight", _CONTENDED, warning=True))
        for ref in sorted(self._fought - fighting):
            log.info("fight over %s has ended", ref)
        self._fought = fighting
        self._metrics.fighting(len(fighting))

    def _cause(self, ref: ObjectRef) -> str:
        """Drift is what changed although Azure asks for the same as when it was last carried out."""
        wanted = self._wanted.get(ref)
        return "drift" if wanted is not None and self._carried.get(ref) == wanted.digest else "azure"


def _line(result: Result, cause: str, *, would: bool) -> str:
    """One change as key=value pairs that a person can read."""
    head = "dry-run " if would and result.action in WRITE_ACTIONS else ""
    pairs = {
        "cause": cause if result.action in WRITE_ACTIONS else "",
        "reason": result.reason,
        "differed": ", ".join(map(str, result.differences[:_DIFFERENCES])),
        "editor": ",".join(result.changed_by),
        "message": result.message,
    }
    text = " ".join(f"{k}={v}" if v.isalnum() else f"{k}={v!r}" for k, v in pairs.items() if v)
    return f"{head}{result.action.value} {result.ref} {text}".rstrip()
