"""Azure itself as the source on a real cluster, by the real command and SDK: as a team uses it, and all there is."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.azure.documents import load
from tests.azure.standin import CLIENT_ID, SECRET, TENANT_ID, Standin
from tests.azure.world import make_assignment, make_exemption
from tests.cluster.azpolicy import Azpolicy, all_constraints, constraints_and_mutators, enforced, pod, refusal
from tests.cluster.harness import TestCluster, eventually
from tests.cluster.test_catalogue import CATALOGUE, assign_all, documents, in_bundle
from tests.snapshots import CLUSTER_ID, Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "snapshot"


class FromAzure(Azpolicy):
    """The command bound to the stand-in instead of a snapshot."""

    def __init__(self, cluster: TestCluster, arm: Standin, *, user: str, of: str, options: Sequence[str] = ()) -> None:
        super().__init__(cluster, Path(), user=user)
        cloud = arm.cloud
        self._azure = ["--cluster-id", of, "--cloud", "custom", "--cloud-endpoint", cloud.endpoint, *options]
        self._azure += ["--cloud-authority", cloud.authority, "--cloud-ca-file", cloud.ca_file]
        self._azure += ["--cloud-audience", "https://arm.test", "--credential", "client-secret"]
        self._options = ["--kubeconfig", str(self.kubeconfig), *self._azure]

    def explained(self) -> dict[str, dict[str, Any]]:
        """`azpolicy explain -o json` by reference id; it takes no cluster."""
        apart = copy.copy(self)
        apart._options = self._azure
        ended = apart("explain", "-o", "json")
        assert ended.code == 0, ended.err
        return {each["referenceId"]: each for each in ended.document()["members"]}


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who the stand-in knows, in the environment of the commands."""
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT_ID)
    monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", SECRET)


# --- as a platform team does it --------------------------------------------------------------------------------------


def _example() -> tuple[str, list[dict[str, Any]]]:
    """The example's cluster and definitions, and its initiative; nothing assigned."""
    found = [each for each in load(EXAMPLE) if "policyAssignments" not in each["id"]]
    [cluster_id] = [each["id"] for each in found if "managedClusters" in each["id"]]
    return cluster_id, found


def _own_baseline(found: list[dict[str, Any]], subscription: str) -> dict[str, Any]:
    """The baseline duplicated as the portal does it, with a list of its own for ContainerCapabilities."""
    [baseline] = [each for each in found if "policySetDefinitions" in each["id"]]
    own: dict[str, Any] = json.loads(json.dumps(baseline))
    own["id"] = f"{subscription}/providers/Microsoft.Authorization/policySetDefinitions/our-baseline"
    own["name"] = "our-baseline"
    properties = own["properties"]
    properties |= {"displayName": "Our baseline", "policyType": "Custom", "version": "1.0.0", "metadata": {}}
    properties["parameters"]["allowedCapabilities"] = {"type": "Array", "defaultValue": ["NET_BIND_SERVICE"]}
    [member] = [
        each
        for each in properties["policyDefinitions"]
        if each["policyDefinitionReferenceId"] == "ContainerCapabilities"
    ]
    member["parameters"]["allowedCapabilities"] = {"value": "[parameters('allowedCapabilities')]"}
    return own


def _pod(**changes: Any) -> dict[str, Any]:
    made = pod()
    capability = changes.pop("adds", "")
    if capability:
        made["spec"]["containers"][0]["securityContext"] = {"capabilities": {"add": [capability]}}
    if "volumes" in changes:
        mounts = [{"name": volume["name"], "mountPath": "/host"} for volume in changes["volumes"]]
        made["spec"]["containers"][0]["volumeMounts"] = mounts
    made["spec"] |= changes
    return made


HOST_PATH: Final = {"volumes": [{"name": "host", "hostPath": {"path": "/etc"}}]}


@pytest.mark.usefixtures("identity", "audits")
def test_as_a_platform_team_does_it_with_its_own_baseline_an_exemption_and_an_override(tidy: TestCluster) -> None:
    cluster_id, found = _example()
    subscription, group = "/".join(cluster_id.split("/")[:3]), "/".join(cluster_id.split("/")[:5])
    own = _own_baseline(found, subscription)
    parameters = {"effect": {"value": "Deny"}, "allowedCapabilities": {"value": ["NET_BIND_SERVICE", "SYS_TIME"]}}
    selector = {"kind": "policyDefinitionReferenceId", "in": ["BlockUsingHostNetwork"]}
    override = {"kind": "policyEffect", "value": "Audit", "selectors": [selector]}
    assigned = make_assignment("ours", own["id"], scope=group, parameters=parameters, overrides=[override])
    expires = datetime.now(UTC) + timedelta(hours=1)

    with Standin([*found, own, assigned]) as arm:
        azpolicy = FromAzure(tidy, arm, user="platform", of=cluster_id)

        def exempt(until: datetime) -> None:
            only = {"policyDefinitionReferenceIds": ["NoHostPathVolume"], "expiresOn": f"{until:%Y-%m-%dT%H:%M:%SZ}"}
            arm.documents.put(make_exemption("migration", assigned["id"], scope=group, **only))

        exempt(expires)
        explained = azpolicy.explained()
        planned = azpolicy.plan()

        outcomes = {name: (each["outcome"], each["reason"]) for name, each in explained.items()}
        assert outcomes.pop("NoHostPathVolume") == ("NotApplied", "Exempt")
        assert set(outcomes.values()) == {("Rendered", "")}
        effects = {name: each["effect"] for name, each in explained.items()}
        assert effects["BlockUsingHostNetwork"] == {
            "value": "audit", "from": "override", "enforcementAction": "dryrun"
        }  # fmt: skip
        assert effects["ContainerCapabilities"]["from"] == "assignment parameter"
        assert (planned.code, set(planned.changes().values())) == (1, {"create"})

        with azpolicy.operating("--interval", "1"):
            eventually(lambda: len(all_constraints(tidy)) == 4, timeout=90, what="four constraints")
            every = lambda: all(enforced(tidy, path) for path in all_constraints(tidy))  # noqa: E731
            eventually(every, timeout=60, what="all four to be enforced")
            refused = lambda: "has a disallowed capability" in refusal(tidy, _pod(adds="SYS_ADMIN"))  # noqa: E731
            eventually(refused, what="a refused capability")
            assert refusal(tidy, _pod(adds="SYS_TIME")) == ""
            assert refusal(tidy, _pod(adds="CHOWN")) != ""
            assert refusal(tidy, _pod(hostNetwork=True)) == ""
            assert refusal(tidy, _pod(**HOST_PATH)) == ""

            ends = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=6)
            exempt(ends)
            eventually(lambda: refusal(tidy, _pod(**HOST_PATH)), timeout=60, what="the exemption to end")

            assert datetime.now(UTC) >= ends
            assert len(all_constraints(tidy)) == 5

        compared = _compared(azpolicy, arm, assigned["id"], cluster_id)
        assert compared == {"NoPrivilegedContainers": "same", "NoHostPathVolume": "differs"}


def _compared(azpolicy: FromAzure, arm: Standin, assignment_id: str, cluster_id: str) -> dict[str, str]:
    """What `azpolicy compare` says of the members that Azure has a state of, once Gatekeeper has audited all."""
    told = {"NoPrivilegedContainers": "Compliant", "NoHostPathVolume": "NonCompliant"}
    arm.states += [
        {
            "resourceId": cluster_id,
            "policyAssignmentId": assignment_id,
            "policyDefinitionReferenceId": name,
            "complianceState": state,
        }
        for name, state in told.items()
    ]
    azpolicy.cluster.wait_for_audit()
    ended = azpolicy("compare", "-o", "json")
    assert ended.code == 1, ended.err
    members = ended.document()["members"]
    assert {each["verdict"] for each in members if each["azure"] is None} == {"unknown"}
    return {each["referenceId"]: each["verdict"] for each in members if each["azure"]}


# --- all that Azure publishes ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("identity")
@pytest.mark.parametrize("folder", ["definitions", "initiatives"])
def test_everything_that_azure_publishes_comes_through_the_sdk_into_the_cluster(
    tidy: TestCluster, tmp_path: Path, folder: str
) -> None:
    if not CATALOGUE.is_dir():
        pytest.skip("Azure's definitions are not beside this checkout")
    snapshot = Snapshot(tmp_path / "assigned")
    published = documents(folder)
    assign_all(snapshot, published)

    with Standin([*load(CATALOGUE), *load(snapshot.folder)]) as arm:
        azpolicy = FromAzure(tidy, arm, user=f"published-{folder}", of=CLUSTER_ID)
        with azpolicy.operating("--interval", "60") as operator:
            eventually(
                lambda: operator.metric("azpolicy_syncs_total", result="success"),
                timeout=300,
                what=f"a good sync ({operator.log})",
            )
            assert "TemplateRejected" not in operator.text
            enforced_members = operator.metric("azpolicy_members_enforced")
            unresolved = operator.metric("azpolicy_members_unresolved")
        made = constraints_and_mutators(tidy)
        print(f"\n{folder}: {len(made)} constraints and mutators, {unresolved:g} members unresolved")
        assert len(made) == enforced_members
        if folder == "definitions":
            assert len(made) == len([each for each in published if in_bundle(each)]) > 0
        assert azpolicy.plan().code == 0
