"""Writes the reports: a loop of its own beside all others, that writes what differs from what is there.

What is there is known by its metadata: a report whose resourceVersion is that of our last write was not touched since,
and any other is read. So a look at thousands of reports costs a few small pages.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from controller.cluster.foreign import mapping_at, mappings_at, text_at
from controller.cluster.kinds import LiveObject
from controller.cluster.lanes import Lane, in_lane
from controller.cluster.report_objects import REPORT_APIS, is_our_report, own_reports, served_kinds
from controller.errors import ClusterError
from controller.report.open_reports.layout import content_digest, reports
from controller.times import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from controller.cluster.client import KubeClient, Response
    from controller.cluster.kinds import Resource
    from controller.cluster.report_objects import ReportApi
    from controller.gatekeeper.model import DesiredState
    from controller.gatekeeper.naming import OwnershipMarks
    from controller.report.assigned import Knowledge
    from controller.report.open_reports.layout import Report
    from controller.report.violations import ViolationStore

log = logging.getLogger("azpolicy")
_GATHER: Final = 5.0
_RETRY: Final = 15.0
_MOST_WARNED: Final = 1000
_MEANWHILE: Final = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)


@dataclass(frozen=True, slots=True)
class Told:
    """What reports tell: the desired state and what is known of its objects."""

    desired: DesiredState
    known: Knowledge


@dataclass(frozen=True, slots=True)
class _There:
    """A report of ours that is there: which object, at which version, and the digest of what it says."""

    uid: str
    version: str
    content: str

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> _There:
        """What is kept of a whole report."""
        return cls(
            text_at(document, "metadata", "uid"),
            text_at(document, "metadata", "resourceVersion"),
            content_digest(document, mapping_at(document, "metadata", "annotations")),
        )


class ReportWriter:
    """Keeps the reports of one API; `run` lives as long as the leader session.

    `told` gives what reports tell, None while too little is known to report or to delete anything. `warn` gets what
    an administrator should know.
    """

    def __init__(
        self,
        client: KubeClient,
        marks: OwnershipMarks,
        violations: ViolationStore,
        told: Callable[[], Told | None],
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._marks = marks
        self._violations = violations
        self._told = told
        self._warn = warn
        self._api: ReportApi | None = None
        self._leaving: tuple[ReportApi, ...] = REPORT_APIS
        self._served: frozenset[Resource] = frozenset()
        self._there: dict[str, _There] = {}
        self._refused: dict[str, str] = {}
        self._passed_over: set[str] = set()
        self._warned: set[str] = set()
        self._look_due = True
        self._dirty = asyncio.Event()
        self._trouble = ""

    # --- what the session tells ------------------------------------------------------------------------------------

    def choose(self, api: ReportApi | None) -> None:
        """The API that is written from now on, None for none: reports of ours of any other API are deleted."""
        self._api = api
        self._leaving = tuple(each for each in REPORT_APIS if each is not api)
        self.look_again()

    def wake(self) -> None:
        """Something that is reported has changed."""
        if self._api is not None:
            self._dirty.set()

    def look_again(self) -> None:
        """What is there may have changed, such as after a full sync: whoever edited a report finds it restored."""
        self._look_due = True
        if self._api is not None or self._leaving:
            self._dirty.set()

    def kinds_changed(self) -> None:
        """A kind of reports came, changed or went. The API server serves a new one a moment later."""
        self.look_again()
        asyncio.get_running_loop().call_later(_RETRY, self.look_again)

    # --- what is written -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Writes for ever; what cannot be written is tried again, and said once."""
        with in_lane(Lane.REPORT):
            while True:
                await self._dirty.wait()
                await asyncio.sleep(_GATHER)
                self._dirty.clear()
                try:
                    await self.write()
                except ClusterError as error:
                    if str(error) != self._trouble:
                        log.warning("reports of policies not written, will be retried error=%r", str(error))
                    self._trouble = str(error)
                    self._look_due = True
                    await asyncio.sleep(_RETRY)
                    self._dirty.set()
                else:
                    self._trouble = ""

    async def write(self) -> None:
        """Writes what differs from what is there, once, and deletes what is ours and not wanted; ClusterError."""
        await self._leave()
        told = self._told()
        if self._api is None or told is None:
            return
        if self._look_due:
            await self._look(self._api)
        wanted: set[str] = set()
        found = reports(self._api, told.desired, told.known, self._violations, utc_now(), self._marks)
        # In a thread: thousands of results take seconds, in which repairs go on.
        while (next_one := await asyncio.to_thread(_next, found)) is not None:
            report, content = next_one
            wanted.add(report.path)
            await self._write(report, content)
        for path in self._there.keys() - wanted:
            await self._delete(path, self._there.pop(path).uid)

    async def _leave(self) -> None:
        """Deletes what was written to an API that is no longer chosen. Without a right to do so there is nothing."""
        for api in self._leaving:
            for kind in await served_kinds(self._client, api):
                try:
                    found = [each async for each in own_reports(self._client, kind, self._marks)]
                except ClusterError as error:
                    if error.status != HTTPStatus.FORBIDDEN:
                        raise
                    found = []
                for path, metadata in found:
                    await self._delete(path, text_at(metadata, "metadata", "uid"))
        self._leaving = ()

    async def _look(self, api: ReportApi) -> None:
        """Lists our reports; reads those that somebody else wrote to, or that an earlier process wrote."""
        self._look_due = False
        self._served = await served_kinds(self._client, api)
        there: dict[str, _There] = {}
        for kind in self._served:
            async for path, metadata in own_reports(self._client, kind, self._marks):
                known = self._there.get(path)
                if known is None or known.version != text_at(metadata, "metadata", "resourceVersion"):
                    whole = await self._client.get(path)
                    known = _There.of(whole) if whole else None
                if known is not None:
                    there[path] = known
        self._there = there
        # What was refused is tried again once in a full sync: an admission policy, or a quota, may have changed.
        self._refused.clear()
        self._passed_over.clear()

    async def _write(self, report: Report, content: str) -> None:
        """Writes a report, whose digest is `content`, unless it says so already, or cannot."""
        path, there = report.path, self._there.get(report.path)
        known = there is not None and there.content == content
        served = any(report.kind.plural == each.plural for each in self._served)
        if known or not served or path in self._passed_over or self._refused.get(path) == content:
            return
        live = await self._client.get(path)
        if live is not None and not is_our_report(LiveObject.of(report.kind, live), self._marks):
            self._passed_over.add(path)
            self._there.pop(path, None)
            self._say(f"{path} is another's: it is left as it is, and what it should say is not reported")
            return
        manifest = self._manifest(report, live)
        if live is None:
            response = await self._client.create(report.kind, manifest)
        else:
            response = await self._client.replace(report.kind, manifest)
        if response.ok:
            self._there[path] = _There.of(response.body)
        elif response.status == HTTPStatus.NOT_FOUND or _is_ending(response):
            # Its namespace, or its kind, is on its way out; what is there then, a look at the next sync tells.
            self._passed_over.add(path)
        elif response.refused:
            self._refused[path] = content
            self._say(f"{path} is refused: {response.message}")
        else:
            self._judge(response, "writing", path)

    def _manifest(self, report: Report, live: Mapping[str, Any] | None) -> dict[str, Any]:
        """The whole object: labels and annotations of others stay."""
        before = LiveObject.of(report.kind, live or {})
        namespace = {"namespace": report.kind.namespace} if report.kind.namespace else {}
        annotations = {key: value for key, value in before.annotations.items() if not key.startswith("azpolicy.dev/")}
        return {
            "apiVersion": report.kind.api_version,
            "kind": report.kind.kind,
            "metadata": {
                **before.metadata,
                "name": report.name,
                **namespace,
                "labels": {**before.labels, **self._marks.labels()},
                "annotations": {**annotations, **report.annotations},
            },
            **report.content,
        }

    async def _delete(self, path: str, uid: str) -> None:
        self._judge(await self._client.delete_at(path, uid), "deleting", path)

    def _judge(self, response: Response, doing: str, path: str) -> None:
        """ClusterError where a request failed; what somebody else was at meanwhile is looked at in the next round."""
        if response.ok:
            return
        if response.status not in _MEANWHILE:
            raise response.error(f"{doing} {path}")
        self.look_again()

    def _say(self, note: str) -> None:
        if note not in self._warned:
            self._warned = {*self._warned, note} if len(self._warned) < _MOST_WARNED else {note}
            log.warning("%s", note)
            self._warn(note)


def _next(found: Iterator[Report]) -> tuple[Report, str] | None:
    """The next report and its digest, None after the last one."""
    report = next(found, None)
    return (report, report.digest) if report is not None else None


def _is_ending(response: Response) -> bool:
    """Whether a namespace takes nothing any more, because it is being deleted."""
    causes = mappings_at(response.body, "details", "causes")
    return any(text_at(each, "reason") == "NamespaceTerminating" for each in causes)
