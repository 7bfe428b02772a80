"""The operator's loops on an API server in memory, with a source that answers as a test says, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from controller.cluster.apply import Applier
from controller.cluster.cluster_record import ClusterRecord
from controller.cluster.dry_run import DryRunCache
from controller.cluster.health import MUTATING_PATH, WEBHOOK_PATH
from controller.cluster.installation import Installation
from controller.cluster.kinds import kind_of
from controller.cluster.last_state import LastState
from controller.cluster.planner import Planner
from controller.cluster.prune import PruneLimit
from controller.config import AzureOptions, SourceOptions
from controller.gatekeeper.probe import probe_objects
from controller.operator.dependencies import Dependencies
from controller.operator.loops import ClusterLoops
from controller.operator.settings import Pace, Settings
from controller.operator.state import OperatorState
from controller.report.metrics import Metrics
from controller.report.reporter import Reporter
from tests.unit.cluster_builders import CLUSTER_ID, MARKS
from tests.unit.fake_api import FakeApi
from tests.unit.virtual_time import clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from controller.gatekeeper.model import DesiredObject, DesiredState
    from controller.source import InCluster, Source

START: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMESPACE: Final = "azpolicy-system"
SOURCE: Final = SourceOptions(
    snapshot=None,
    azure=AzureOptions("public", "", "", "", "", "azure-cli", ()),
    cluster_id=CLUSTER_ID,
    templates="bundle",
    template_hosts=(),
    template_pins=(),
    template_cache=None,
    marks=MARKS,
    excluded_namespaces=(),
)
SETTINGS: Final = Settings(SOURCE, Pace(poll=900.0, resync=300.0), PruneLimit())


def webhook(**changes: Any) -> dict[str, Any]:
    """Gatekeeper's validating webhook as its manifest has it, and changes to it."""
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"]}
    return {
        "name": "validation.gatekeeper.sh",
        "clientConfig": {"url": "https://gatekeeper/v1/admit"},
        "failurePolicy": "Ignore",
        "timeoutSeconds": 3,
        "rules": [{**rule, "resources": ["*", "pods/ephemeralcontainers"]}],
        **changes,
    }


@dataclass
class Figures:
    """What a reading cost: nothing."""

    figures: dict[str, float] = field(default_factory=dict)


class ScriptedSource:
    """Answers each reading with `answer` (an error is raised); `silent` readings never end."""

    description = "a test's source"

    def __init__(self, answer: DesiredState | Exception) -> None:
        self.answer = answer
        self.changes_at: datetime | None = None
        self.later: DesiredState | Exception = answer
        self.silent = False
        self.readings = 0
        self.looked_again = 0
        self.cancelled = 0
        self.reader = Figures()

    async def read(self, cluster: InCluster) -> DesiredState:  # noqa: ARG002 - no test needs it
        """One reading."""
        self.readings += 1
        try:
            if self.silent:
                await asyncio.Event().wait()
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def read_again(self, cluster: InCluster) -> DesiredState:  # noqa: ARG002 - no test needs it
        """`later`, or an error, which leaves the moment as it is."""
        self.looked_again += 1
        if isinstance(self.later, Exception):
            raise self.later
        self.changes_at = None
        return self.later

    async def changed(self) -> bool:
        """Never before the next poll."""
        return False

    @property
    def source(self) -> Source:
        """This, as what the loops take."""
        return cast("Source", self)


class Operator:
    """The loops, what they know, and the API server that they work on."""

    def __init__(self, api: FakeApi, source: ScriptedSource, settings: Settings = SETTINGS) -> None:
        self.api = api
        self.source = source
        self.settings = settings
        cache = DryRunCache()
        applier = Applier(api, MARKS, cache)
        metrics = Metrics(lambda: 0.0)
        self.state = OperatorState(
            settings, probe=probe_objects(MARKS, NAMESPACE), now=lambda: START + timedelta(seconds=clock())
        )
        reporter = Reporter(api, MARKS, metrics, "test", lambda: self.state.status)
        self.state.on_change(reporter.wake)
        self.loops = ClusterLoops(
            Dependencies(
                client=api,
                planner=Planner(api, applier, cache, MARKS),
                applier=applier,
                cluster_record=ClusterRecord(api, Installation(MARKS), now=self.state.now),
                last_state=LastState(api, NAMESPACE, MARKS),
                marks=MARKS,
                metrics=metrics,
                reporter=reporter,
                namespace=NAMESPACE,
            ),
            self.state,
        )

    async def in_sync(self, *objects: DesiredObject) -> None:
        """Waits until all is as desired and its kinds are watched; a new kind's CRD is news that wakes the loops."""
        await until(lambda: self.state.status.settled and all(restored(self.api, each) for each in objects))
        self.loops.wake()
        watched = {kind_of(each.ref).path() for each in objects}
        await until(lambda: watched <= {call.path for call in self.api.calls if call.method == "WATCH"})
        await until(lambda: not self.state.sync_wanted.is_set())

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Operator]:
        """The loops at work until the block ends; an error of theirs is the block's."""
        task = asyncio.ensure_future(self.loops.run(self.source.source, self.settings))
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.result()


def restored(api: FakeApi, wanted: DesiredObject) -> bool:
    """Whether an object is there as desired."""
    return api.has(wanted.ref) and api.found(wanted.ref).manifest["spec"] == wanted.manifest["spec"]


def cluster() -> FakeApi:
    """An API server with a Gatekeeper that answers."""
    api = FakeApi()
    api.place(WEBHOOK_PATH, {"kind": "ValidatingWebhookConfiguration", "webhooks": [webhook()]})
    mutating = webhook(name="mutation.gatekeeper.sh", clientConfig={"url": "https://gatekeeper/v1/mutate"})
    api.place(MUTATING_PATH, {"kind": "MutatingWebhookConfiguration", "webhooks": [mutating]})
    return api


async def until(condition: Callable[[], Any], *, seconds: float = 60.0) -> None:
    """Waits until a condition holds; fails after so many seconds of virtual time."""
    end = clock() + seconds
    while not condition():
        assert clock() < end, f"not within {seconds} s"
        await asyncio.sleep(0.05)
