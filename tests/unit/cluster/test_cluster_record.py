"""The record in the cluster: of which Azure cluster it is, declared or real, and to which installation it belongs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.cluster.changes import Conflict, Create, Delete, Keep, Plan, ref_of
from controller.cluster.cluster_record import ClusterRecord
from controller.cluster.installation import Installation
from controller.cluster.plan import make_plan
from controller.errors import OtherInstallation, Refused
from controller.gatekeeper.naming import OwnershipMarks
from tests.unit.cluster_builders import (
    CLUSTER_ID,
    MARKS,
    constraint,
    desired_state,
    inventory,
    live,
    member,
    template,
)
from tests.unit.fake_api import FakeApi

if TYPE_CHECKING:
    from collections.abc import Mapping

DECLARED = "/subscriptions/s/resourceGroups/g/providers/azpolicy.dev/managedClusters/web"
PATH: Final = "/api/v1/namespaces/kube-public/configmaps/azure-policy-sync"
PLAN: Final = Plan(CLUSTER_ID, (Create(constraint()),))
SETTLED: Final = Plan(CLUSTER_ID, (Keep(constraint(), live(constraint())),))
OURS: Final = Installation(MARKS, "azpolicy-a/azpolicy")
THEIRS: Final = Installation(OwnershipMarks("team-b"), "azpolicy-b/azpolicy")


def record(api: FakeApi, installation: Installation = OURS) -> ClusterRecord:
    return ClusterRecord(api, installation)


def placed(managed_by: str = "", **data: str) -> FakeApi:
    """A cluster with this record, as an older version may have written it."""
    api = FakeApi()
    labels = {"managed-by": managed_by} if managed_by else {}
    api.place(PATH, {"kind": "ConfigMap", "metadata": {"name": "azure-policy-sync", "labels": labels}, "data": data})
    return api


def kept(api: FakeApi) -> tuple[str, Mapping[str, Any]]:
    """The record's managed-by label and data."""
    found = api.read(PATH)
    return found["metadata"]["labels"]["managed-by"], found["data"]


async def test_a_declared_cluster_is_recorded_and_refused_under_the_id_of_a_real_one() -> None:
    api = FakeApi()
    await record(api).make(Plan(DECLARED, (Create(constraint()),)))

    assert (await record(api).check(DECLARED.upper())).cluster_id == DECLARED
    said = f"is recorded as {DECLARED} (declared, no resource in Azure), not {CLUSTER_ID}: "
    with pytest.raises(Refused, match=re.escape(said)):
        await record(api).check(CLUSTER_ID)


async def test_an_installation_with_another_managed_by_is_refused_with_what_to_do() -> None:
    api = FakeApi()
    await record(api).make(PLAN)

    with pytest.raises(OtherInstallation) as refused:
        await record(api, THEIRS).make(PLAN)

    assert "belongs to the installation with --managed-by azure-policy-sync in azpolicy-a/azpolicy" in str(
        refused.value
    )
    assert "this one has --managed-by team-b" in str(refused.value)
    assert "azpolicy uninstall --managed-by azure-policy-sync" in str(refused.value)
    assert "--adopt azure-policy-sync" in str(refused.value)
    assert kept(api) == ("azure-policy-sync", {"cluster-id": CLUSTER_ID, "installation": "azpolicy-a/azpolicy"})


async def test_the_same_managed_by_at_another_place_is_refused() -> None:
    api = FakeApi()
    await record(api).make(PLAN)

    said = "belongs to the installation in azpolicy-a/azpolicy, and this one is azpolicy-a/second: "
    with pytest.raises(OtherInstallation, match=said):
        await record(api, Installation(MARKS, "azpolicy-a/second")).check(CLUSTER_ID)


async def test_a_persons_command_with_the_same_managed_by_works_and_leaves_the_place() -> None:
    api = FakeApi()
    await record(api).make(PLAN)
    before = len(api.calls)

    await record(api, Installation(MARKS)).make(PLAN)

    assert [call.method for call in api.calls[before:]] == ["GET"]
    assert kept(api)[1]["installation"] == "azpolicy-a/azpolicy"


@pytest.mark.parametrize("managed_by", ["", MARKS.managed_by], ids=["no label", "our label"])
@pytest.mark.parametrize("plan", [PLAN, SETTLED], ids=["with writes", "settled"])
async def test_the_record_of_an_older_version_is_taken_over(managed_by: str, plan: Plan) -> None:
    api = placed(managed_by, **{"cluster-id": CLUSTER_ID})

    await record(api).make(plan)

    assert kept(api) == (MARKS.managed_by, {"cluster-id": CLUSTER_ID, "installation": OURS.place})


async def test_the_label_of_an_older_versions_record_is_enough_to_refuse_another() -> None:
    with pytest.raises(OtherInstallation, match="--managed-by team-b"):
        await record(placed("team-b", **{"cluster-id": CLUSTER_ID})).check(CLUSTER_ID)


async def test_who_adopts_takes_the_cluster_over_and_the_former_is_refused_from_then_on() -> None:
    api = FakeApi()
    await record(api, THEIRS).make(PLAN)

    await record(api, Installation(OwnershipMarks(MARKS.managed_by, frozenset({"team-b"})), OURS.place)).make(PLAN)

    assert kept(api) == (MARKS.managed_by, {"cluster-id": CLUSTER_ID, "installation": OURS.place})
    with pytest.raises(OtherInstallation, match="--managed-by azure-policy-sync in azpolicy-a/azpolicy"):
        await record(api, THEIRS).check(CLUSTER_ID)


async def test_a_person_who_adopts_does_not_keep_the_place_of_the_former() -> None:
    api = FakeApi()
    await record(api, THEIRS).make(PLAN)

    await record(api, Installation(OwnershipMarks(MARKS.managed_by, frozenset({"team-b"})))).make(PLAN)

    assert kept(api) == (MARKS.managed_by, {"cluster-id": CLUSTER_ID})


async def test_a_deleted_record_is_written_again_by_who_has_objects_here_though_all_is_settled() -> None:
    api = FakeApi()

    await record(api).make(SETTLED)

    assert kept(api)[0] == MARKS.managed_by


@pytest.mark.parametrize(
    "plan", [Plan(CLUSTER_ID, ()), Plan(CLUSTER_ID, (Conflict(constraint(), "foreign"),))], ids=["empty", "conflict"]
)
async def test_a_cluster_without_anything_of_ours_is_not_recorded(plan: Plan) -> None:
    api = FakeApi()

    await record(api).make(plan)

    assert PATH not in api.paths


def test_two_installations_delete_nothing_of_each_other() -> None:
    """Were it not for the record: all of them write as one field manager, and a label is all that tells them apart."""
    theirs = constraint(by=member("theirs"))
    of_b = live(theirs, labels={"managed-by": "team-b"})
    template_of_b = live(template("K8sTheirs"), labels={"managed-by": "team-b"})
    of_a = live(constraint(by=member("gone")))

    wanted = constraint(by=member("wanted"))
    plan = make_plan(desired_state(wanted), inventory(of_b, template_of_b, of_a), MARKS)

    assert [change.live for change in plan.changes if isinstance(change, Delete)] == [of_a]
    assert not {of_b.ref, template_of_b.ref} & set(map(ref_of, plan.changes))
