"""What `azpolicy why` reads of a cluster: the workload's own events, its owner, and the policies."""

from __future__ import annotations

import asyncio
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.azure.snapshot import read_snapshot
from controller.cluster.kinds import LiveObject
from controller.cluster.last_state import LastState
from controller.cluster.written import Kept
from controller.commands import why as asking
from controller.config import AzureOptions, ClusterOptions, SourceOptions
from controller.errors import InputError
from controller.gatekeeper.desired import desired_state
from controller.gatekeeper.providers import make_provider
from tests.unit.cluster_builders import MARKS
from tests.unit.fake_api import FakeApi, status

if TYPE_CHECKING:
    from controller.gatekeeper.model import DesiredState
    from controller.why.answer import Answer

SNAPSHOT: Final = Path(__file__).parents[3] / "examples/snapshot"
LEASES: Final = "/apis/coordination.k8s.io/v1/leases"
APPS: Final = "/apis/apps/v1/namespaces/shop"
OPERATOR: Final = "azpolicy-system"
# Of the cluster: no snapshot, and Azure is never asked.
SOURCE: Final = SourceOptions(
    snapshot=None,
    azure=AzureOptions(
        cloud="public",
        cloud_endpoint="",
        cloud_audience="",
        cloud_authority="",
        cloud_ca_file="",
        credential="azure-cli",
        api_versions=(),
    ),
    cluster_id=None,
    templates="bundle",
    template_hosts=(),
    template_pins=(),
    template_cache=None,
    marks=MARKS,
    excluded_namespaces=(),
)


@pytest.fixture(scope="module")
def desired() -> DesiredState:
    state, now = read_snapshot(SNAPSHOT, None), datetime.now(UTC)
    return asyncio.run(desired_state(state, make_provider("bundle"), now=now, marks=MARKS))


@pytest.fixture
def api(desired: DesiredState, monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """A cluster with every policy of the example, and a Deployment whose newest ReplicaSet was denied its pods."""
    fake = FakeApi()
    for each in desired.objects:
        fake.put(LiveObject(each.ref, each.manifest))
    owned = [{"kind": "Deployment", "name": "web", "uid": "web-uid", "controller": True}]
    fake.place(f"{APPS}/deployments/web", deployment())
    for name, made in (("old", "2026-01-01"), ("new", "2026-02-01")):
        metadata = {
            "name": f"web-{name}",
            "uid": f"{name}-uid",
            "namespace": "shop",
            "ownerReferences": owned,
            "creationTimestamp": f"{made}T00:00:00Z",
        }
        fake.place(
            f"{APPS}/replicasets/web-{name}", {"kind": "ReplicaSet", "apiVersion": "apps/v1", "metadata": metadata}
        )
    monkeypatch.setattr(asking, "connect", lambda _: fake)
    monkeypatch.setattr(FakeApi, "__aenter__", entered)
    return fake


async def entered(api: FakeApi) -> FakeApi:
    return api


def deployment() -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "uid": "web-uid"},
        "spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web", "stdin": True}]}}},
    }


def constraint(desired: DesiredState, kind: str) -> str:
    return next(each.ref.name for each in desired.objects if each.ref.kind == kind)


def event(api: FakeApi, uid: str, name: str) -> None:
    """An event about the object of this uid, at a path that the in-memory server finds by its field selector."""
    message = f'Error creating: admission webhook "validation.gatekeeper.sh" denied the request: [{name}] no'
    document = {"kind": "Event", "metadata": {"name": uid}, "message": message}
    api.place(f"/api/v1/namespaces/shop/events/involvedObject.uid={uid}", document)


def ask(*arguments: str, namespace: str | None = "shop") -> Answer:
    asked = asking.question(arguments, namespace, None, io.BytesIO())
    return asyncio.run(asking.why(asked, SOURCE, ClusterOptions(None, None), None))


def kinds(answer: Answer) -> list[str]:
    return [each["constraint"]["kind"] for each in answer.document["denials"]]


@pytest.mark.parametrize("workload", ["deployment/web", "deploy/web", "Deployment/web", "deployments.apps/web"])
def test_a_workloads_events_are_its_own_and_its_newest_childs(
    api: FakeApi, desired: DesiredState, workload: str
) -> None:
    event(api, "old-uid", constraint(desired, "K8sAzureV2BlockHostNamespace"))
    event(api, "new-uid", constraint(desired, "K8sAzureV2NoPrivilege"))

    found = ask(workload)

    assert kinds(found) == ["K8sAzureV2NoPrivilege"]
    assert found.document["object"]["kind"] == "Deployment"


def test_a_condition_says_it_after_the_events_are_gone(api: FakeApi, desired: DesiredState) -> None:
    name = constraint(desired, "K8sAzureV2NoPrivilege")
    message = f'admission webhook "validation.gatekeeper.sh" denied the request: [{name}] no'
    api.merge(f"{APPS}/deployments/web", {"status": {"conditions": [{"type": "ReplicaFailure", "message": message}]}})

    assert kinds(ask("deployment/web")) == ["K8sAzureV2NoPrivilege"]


def test_a_workload_that_nothing_denied_is_none_of_ours(api: FakeApi) -> None:
    assert api.paths
    assert not ask("deployment/web").ours


def test_what_is_to_be_changed_is_the_owner_of_what_an_event_names(api: FakeApi, desired: DesiredState) -> None:
    name = constraint(desired, "K8sAzureV2NoPrivilege")
    pasted = {
        "kind": "Event",
        "involvedObject": {"kind": "ReplicaSet", "name": "web-new", "namespace": "shop"},
        "message": f"[{name}] no",
    }

    found = ask(json.dumps(pasted), namespace=None)

    assert found.document["object"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "web",
        "namespace": "shop",
    }
    assert api.count("GET") == len(api.calls)


def test_a_workload_that_is_not_there_is_an_error_that_names_it(api: FakeApi) -> None:
    assert api.paths
    with pytest.raises(InputError, match="there is no Deployment default/web"):
        ask("deployment/web", namespace=None)


def test_the_policies_are_the_last_good_state_where_the_operator_keeps_one(api: FakeApi, desired: DesiredState) -> None:
    name = constraint(desired, "K8sAzureV2NoPrivilege")
    asyncio.run(LastState(api, OPERATOR, MARKS).save(Kept(desired)))
    metadata = {"name": "azure-policy-sync", "namespace": OPERATOR}
    api.place(f"/apis/coordination.k8s.io/v1/namespaces/{OPERATOR}/leases/azure-policy-sync", {"metadata": metadata})

    found = ask(f"[{name}] no")

    assert found.document["source"] == "the operator's last good state"
    assert found.document["denials"][0]["policy"]["name"] == "Pods run without privileged containers"


def test_without_the_right_to_that_state_the_constraints_themselves_tell(api: FakeApi, desired: DesiredState) -> None:
    api.at("GET", LEASES, status(403, "no", "Forbidden"), times=9)
    name = constraint(desired, "K8sAzureV2NoPrivilege")

    [denial] = ask(f"[{name}] no").document["denials"]

    assert denial["assignment"]["id"].endswith("/policyAssignments/pod-security-baseline")
    assert denial["initiative"]["id"]
    assert denial["policy"]["words"] == "No container may set securityContext.privileged."


@pytest.mark.parametrize("arguments", [(), ("deploy/a", "deploy/b")])
def test_a_question_that_names_nothing_or_two_workloads_is_an_error(arguments: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        asking.question(arguments, None, None, io.BytesIO())
