"""Whatever others write into whichever field, reading it fails nobody: each reader against anything at any place.

The number of cases is AZPOLICY_FUZZ (100 of each reader by default); the same cases are tried at each run.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.bounded_json import CUT
from controller.cluster.changed_by import changed_by
from controller.cluster.cluster_record import Recorded
from controller.cluster.diff import Difference
from controller.cluster.dry_run import DryRunAnswer
from controller.cluster.foreign import (
    list_at,
    mapping_at,
    mappings_at,
    text_at,
    text_map_at,
    texts_at,
    value_at,
    whole_at,
)
from controller.cluster.guard import NAME as GUARDED
from controller.cluster.guard import ComponentStore
from controller.cluster.guard_rules import DEPLOYMENT, MUTATING, SERVICE, VALIDATING, compared
from controller.cluster.health import DEPLOYMENTS, WEBHOOK_PATH, gatekeeper_health
from controller.cluster.inventory import take_inventory
from controller.cluster.kinds import (
    CLUSTER_REPORT,
    EXPANSION,
    MUTATORS,
    POLICY_SYNC,
    SYNCSET,
    TEMPLATE,
    Inventory,
    LiveObject,
    Resource,
    constraint_kind,
)
from controller.cluster.last_state import LastState
from controller.cluster.lease import Lease, LeaseSettings, written
from controller.cluster.owned_state import OwnedObject
from controller.cluster.ownership import member_of, ownership
from controller.cluster.plan import decide, make_plan
from controller.cluster.readiness import constraint_verdict, is_status_stale, template_errors, template_verdict
from controller.cluster.report_objects import OPEN_REPORTS
from controller.cluster.resources import Resources
from controller.commands.compare import audits_of
from controller.commands.status import Status
from controller.commands.status_view import as_text, sheet
from controller.errors import ClusterError, InputError
from controller.gatekeeper.expansion import expansion_templates, with_source
from controller.gatekeeper.naming import CONSTRAINT_VERSION, RunningTemplate
from controller.migration.strictness import shortfalls
from controller.operator.settings import requests_of, settings_of
from controller.operator.state import OperatorState
from controller.report.assigned import Knowledge
from controller.report.conditions import Reported, SyncState, status_of
from controller.report.health import health_of
from controller.report.metrics import Metrics
from controller.report.open_reports.layout import reports
from controller.report.open_reports.writer import ReportWriter, Told
from controller.report.reporter import Reporter
from controller.report.violations import ViolationStore
from tests.resources import assigned_policy, lease, policy_sync
from tests.unit.azure_builders import places, put
from tests.unit.cluster_builders import MARKS, constraint, desired_state, foreign, live, mutator, template
from tests.unit.fake_api import FakeApi
from tests.unit.operator.test_settings import BASE

if TYPE_CHECKING:
    from collections.abc import Callable

    from controller.gatekeeper.model import DesiredObject
    from controller.jsontypes import Json

CASES = int(os.environ.get("AZPOLICY_FUZZ", "100"))
ENDPOINTS = "/apis/discovery.k8s.io/v1/namespaces/gatekeeper-system/endpointslices"
NOW = datetime(2026, 3, 1, tzinfo=UTC)
WHEN = "2026-03-01T12:00:00Z"
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.sampled_from(
        ["", "x", "0", WHEN, "0001-01-01T00:00:00+14:00", "default", "K8sThing", "azurepolicy-x", CUT, "\0"]
    ),
)
VALUES: st.SearchStrategy[Json] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "kind", "", "spec", "errors", "a.b", "\0"]), inner, max_size=3)
    ),
    max_leaves=6,
)

POD_ERRORS = [{"code": "ingest_error", "message": "no"}]
TEMPLATE_STATUS = {"byPod": [{"id": "p", "observedGeneration": 1, "templateUID": "uid-k8sthing", "errors": POD_ERRORS}]}
CONSTRAINT_STATUS = {
    "auditTimestamp": WHEN,
    "totalViolations": 1,
    "violations": [{"namespace": "a", "kind": "Pod", "name": "b", "message": "no", "enforcementAction": "deny"}],
    "byPod": [{"id": "p", "observedGeneration": 1, "enforced": True, "operations": ["audit"], "errors": POD_ERRORS}],
}
PARAMETERS: dict[str, Any] = {"properties": {"a": {"items": {"properties": {"b": {}}}}}}
CRD = {
    "metadata": {"name": "k8sthing.constraints.gatekeeper.sh"},
    "spec": {
        "versions": [
            {
                "name": "v1beta1",
                "served": True,
                "schema": {"openAPIV3Schema": {"properties": {"spec": {"properties": {"parameters": PARAMETERS}}}}},
            }
        ]
    },
    "status": {"conditions": [{"type": "Established", "status": "True"}]},
}
EXPANSIONS = expansion_templates([with_source(constraint(), "All")], MARKS)
REPORT_PATH = f"{CLUSTER_REPORT.path()}/azpolicy-assignments"
REPORT: dict[str, Any] = {
    "apiVersion": CLUSTER_REPORT.api_version,
    "kind": CLUSTER_REPORT.kind,
    "metadata": {
        "name": "azpolicy-assignments",
        "uid": "u",
        "resourceVersion": "7",
        "generation": 1,
        "labels": MARKS.labels(),
        "annotations": {"azpolicy.dev/cut": "x"},
        "managedFields": [{"manager": "azure-policy-sync"}],
    },
    "source": "Azure Policy",
    "summary": {"pass": 1},
    "results": [{"policy": "x", "properties": {"resultID": "y"}, "resources": [{"name": "z"}]}],
}
HOOK = {
    "name": "validation.gatekeeper.sh",
    "clientConfig": {"service": {"namespace": "gatekeeper-system", "name": "gatekeeper-webhook-service"}},
    "rules": [{"operations": ["*"]}],
}


@dataclass(frozen=True)
class Reader:
    """Something that reads a document; `document` is a good one, `refuses` what it may raise."""

    name: str
    document: dict[str, Any]
    read: Callable[[dict[str, Any]], object]
    refuses: tuple[type[Exception], ...] = ()


def document_of(wanted: DesiredObject, status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    managed = [{"manager": "kubectl-edit", "time": WHEN, "fieldsV1": {"f:spec": {"f:match": {}}}}]
    found = live(wanted, finalizers=["x"], ownerReferences=[{"uid": "u"}], creationTimestamp=WHEN, **metadata)
    metadata_read = {**found.metadata, "managedFields": [*found.metadata["managedFields"], *managed]}
    return {**copy.deepcopy(dict(found.manifest)), "metadata": metadata_read, "status": copy.deepcopy(status)}


def of_any_role(wanted: DesiredObject, kind: Resource) -> Callable[[dict[str, Any]], object]:
    """Everything that the plan, the repair and the report look at in an object of ours."""

    def read(document: dict[str, Any]) -> object:
        found = LiveObject.of(kind, document)
        stored = DryRunAnswer(LiveObject.of(kind, document_of(wanted, {})))
        beside = [each for each in EXPANSIONS if each.ref != wanted.ref]
        plans = [
            make_plan(state, Inventory({found.ref: found}, frozenset({"K8sThing"})), MARKS)
            for state in (desired_state(wanted, *beside), desired_state(listed=["b"]))
        ]
        return (
            ownership(found, MARKS),
            member_of(found.annotations),
            RunningTemplate.of(found.annotations),
            found.digest(),
            found.deleting,
            decide(wanted, found, MARKS, {}),
            decide(wanted, found, MARKS, {}, stored),
            health_of(found, wanted.role),
            changed_by(found, [Difference("spec.match", 1, 2), Difference("labels.a", 1, 2)]),
            is_status_stale(found),
            audits_of([found]),
            shortfalls(mapping_at(found.manifest, "spec"), mapping_at(wanted.manifest, "spec")),
            shortfalls(mapping_at(wanted.manifest, "spec"), mapping_at(found.manifest, "spec")),
            plans,
        )

    return read


def template_reader(document: dict[str, Any]) -> object:
    found = LiveObject.of(TEMPLATE, document)
    return of_any_role(template(), TEMPLATE)(document), template_verdict(found, CRD), template_errors(found)


def constraint_reader(document: dict[str, Any]) -> object:
    kind = constraint_kind("K8sThing")
    return of_any_role(constraint(), kind)(document), constraint_verdict(LiveObject.of(kind, document))


def violations_reader(document: dict[str, Any]) -> object:
    """What an audit left in a constraint, as reports tell it."""
    desired, found = desired_state(template(), constraint()), LiveObject.of(constraint_kind("K8sThing"), document)
    known = ViolationStore(lists=True)
    known.expect(desired)
    known.found({constraint().ref: replace(found, ref=constraint().ref)})
    return [each.digest for each in reports(OPEN_REPORTS, desired, Knowledge(), known, NOW, MARKS)]


def report_reader(document: dict[str, Any]) -> object:
    """A report that is there already, whoever wrote it."""
    api = FakeApi()
    # What is the API server's own is of its type.
    own = {key: REPORT["metadata"][key] for key in ("name", "uid", "resourceVersion", "generation", "managedFields")}
    api.seed(REPORT_PATH, {**document, "metadata": {**mapping_at(document, "metadata"), **own}})

    async def report() -> None:
        told = Told(desired_state(template(), constraint()), Knowledge())
        writer = ReportWriter(api, MARKS, ViolationStore(lists=True), lambda: told)
        writer.choose(OPEN_REPORTS)
        await writer.write()

    asyncio.run(report())
    return OwnedObject.of("", "Report", REPORT_PATH, document)


def lease_reader(document: dict[str, Any]) -> object:
    found = Lease.of(document)
    for holder in ("me", ""):
        written(found, LeaseSettings(namespace="azpolicy", identity="me"), holder, NOW, NOW)
    return OwnedObject.of("", "Lease", "/x", document), found


def kept_reader(document: dict[str, Any]) -> object:
    """What the operator keeps for itself in a ConfigMap, whoever edited it."""
    api = FakeApi()
    for name in ("azure-policy-sync-state", GUARDED):
        api.seed(f"/api/v1/namespaces/azpolicy/configmaps/{name}", document)
    state = asyncio.run(LastState(api, "azpolicy", MARKS).load(None))
    good = asyncio.run(ComponentStore(api, "azpolicy", MARKS).load())
    return Recorded.of(document), state, good


def component_reader(resource: Resource) -> Callable[[dict[str, Any]], object]:
    def read(document: dict[str, Any]) -> object:
        found = LiveObject.of(resource, document)
        good = compared({}, [found]).good
        return compared(good, []), compared(good, [found])

    return read


def health_reader(path: str) -> Callable[[dict[str, Any]], object]:
    def read(document: dict[str, Any]) -> object:
        api = FakeApi()
        api.seed(f"/apis/{TEMPLATE.api_version}", {"kind": "APIResourceList"})
        api.seed(WEBHOOK_PATH, {"kind": "ValidatingWebhookConfiguration", **hooks("validating")})
        api.seed(path, {"kind": "List", **document})
        return asyncio.run(gatekeeper_health(api))

    return read


def discovery_reader(document: dict[str, Any]) -> object:
    api = FakeApi()
    api.seed(f"/apis/{CONSTRAINT_VERSION}", {"kind": "APIResourceList", **document})
    return asyncio.run(take_inventory(api, ()))


def policy_sync_reader(document: dict[str, Any]) -> object:
    found = LiveObject.of(POLICY_SYNC, document)

    async def report() -> None:
        Reporter(FakeApi(), MARKS, Metrics(lambda: 0.0), "test").seen(found)
        OperatorState(BASE).recall(found)

    asyncio.run(report())
    status_of(SyncState(), Reported(), mapping_at(found.manifest, "status"), NOW)
    list(as_text(sheet(Status.of(Resources(document, (), ())), NOW)))
    return requests_of(found), settings_of(found, BASE)


def assigned_policy_reader(document: dict[str, Any]) -> object:
    status = Status.of(Resources(None, (document,), (document,)))
    return list(as_text(sheet(status, NOW))), status.only((), problems=True)


def config_map() -> dict[str, Any]:
    return {
        "kind": "ConfigMap",
        "metadata": {"name": "x", "uid": "u", "resourceVersion": "1", "annotations": {"azpolicy.dev/parts": "a b"}},
        "data": {"cluster-id": "/subscriptions/x", "refused-deletions": '["K8sThing/x"]', "objects.json": "[]"},
        "binaryData": {"state.json.gz": "H4sIAAAAAAAA"},
    }


def component(name: str = "x", namespace: str = "gatekeeper-system", **parts: Any) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"gatekeeper.sh/system": "yes"}, "annotations": {"a": "b"}}
    return {"metadata": metadata | ({"namespace": namespace} if namespace else {}), **parts}


def hooks(side: str) -> dict[str, Any]:
    return component(f"gatekeeper-{side}-webhook-configuration", "", webhooks=[HOOK])


def theirs_for_pods() -> dict[str, Any]:
    found = foreign(EXPANSIONS[1], name="theirs")
    return copy.deepcopy(dict(found.manifest))


def crd_reader(crd: dict[str, Any]) -> object:
    taken = {"byPod": [{"id": "p", "observedGeneration": 1, "templateUID": "uid-k8sthing"}]}
    document = document_of(template(), taken)
    document["spec"]["crd"]["spec"]["validation"] = {"openAPIV3Schema": PARAMETERS}
    return template_verdict(LiveObject.of(TEMPLATE, document), crd)


DEPLOYED = component(
    spec={"replicas": 1, "template": {"spec": {"serviceAccountName": "a", "containers": [{"image": "g:v3.17.0"}]}}}
)
READERS = [
    Reader("template", document_of(template(), TEMPLATE_STATUS), template_reader),
    Reader("constraint", document_of(constraint(), CONSTRAINT_STATUS), constraint_reader),
    Reader("violations", document_of(constraint(), CONSTRAINT_STATUS), violations_reader),
    Reader("report", REPORT, report_reader, (ClusterError,)),
    Reader("mutator", document_of(mutator(), CONSTRAINT_STATUS), of_any_role(mutator(), MUTATORS[0])),
    Reader("SyncSet", {"metadata": {"name": "x"}, "spec": {"gvks": []}}, of_any_role(mutator(), SYNCSET)),
    Reader("ExpansionTemplate", document_of(EXPANSIONS[0], {}), of_any_role(EXPANSIONS[0], EXPANSION)),
    Reader("another's ExpansionTemplate", theirs_for_pods(), of_any_role(EXPANSIONS[0], EXPANSION)),
    Reader("CRD", CRD, crd_reader),
    Reader("Lease", lease(), lease_reader),
    Reader("ConfigMap", config_map(), kept_reader),
    Reader("Deployment", DEPLOYED, component_reader(DEPLOYMENT)),
    Reader("Service", component(spec={"clusterIP": "1", "ports": [{"nodePort": 1}]}), component_reader(SERVICE)),
    Reader("webhooks", hooks("validating"), component_reader(VALIDATING)),
    Reader("mutating webhooks", hooks("mutating"), component_reader(MUTATING)),
    Reader("webhook's health", hooks("validating"), health_reader(WEBHOOK_PATH)),
    Reader(
        "endpoints' health", {"items": [{"endpoints": [{"conditions": {"ready": True}}]}]}, health_reader(ENDPOINTS)
    ),
    Reader("deployments' health", {"items": [DEPLOYED]}, health_reader(DEPLOYMENTS)),
    Reader("discovery", {"resources": [{"name": "k8sthing", "kind": "K8sThing", "verbs": ["list"]}]}, discovery_reader),
    Reader("PolicySync", policy_sync(), policy_sync_reader, (InputError,)),
    Reader("AssignedPolicy", assigned_policy(initiative="y", violations=3), assigned_policy_reader),
]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_good_document_is_read(reader: Reader) -> None:
    assert reader.read(copy.deepcopy(reader.document)) is not None


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_anything_at_any_place_fails_nobody(reader: Reader) -> None:
    # A name is what the API server looks an object up by, so there is always one.
    fixed = ((), ("metadata",), ("metadata", "name"))
    changeable = [path for path in places(reader.document) if path not in fixed]

    @settings(max_examples=CASES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(st.sampled_from(changeable), VALUES), min_size=1, max_size=3))
    def check(changes: list[tuple[tuple[str | int, ...], Json]]) -> None:
        document = copy.deepcopy(reader.document)
        for path, value in changes:
            put(document, path, value)
        with contextlib.suppress(*reader.refuses):
            reader.read(document)

    check()


@given(VALUES, st.lists(st.sampled_from(["name", "kind", "", "spec"]), max_size=3))
@settings(derandomize=True)
def test_each_reader_gives_its_type_or_what_stands_for_nothing(value: Json, path: list[str]) -> None:
    found = value_at(value, *path)

    assert mapping_at(value, *path) == (found if isinstance(found, dict) else {})
    assert list_at(value, *path) == (found if isinstance(found, list) else [])
    assert all(isinstance(each, dict) for each in mappings_at(value, *path))
    assert all(isinstance(each, str) for each in texts_at(value, *path))
    assert all(isinstance(each, str) for each in text_map_at(value, *path).values())
    assert text_at(value, *path, default="none") == (found if isinstance(found, str) else "none")
    assert whole_at(value, *path, default=-1) == (found if type(found) is int else -1)
