"""`azpolicy uninstall`: all that is ours goes in an order that can be taken up again, and nothing else goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from controller.cluster.apply import Action
from controller.cluster.kinds import kind_of
from controller.cluster.last_state import LastState
from controller.cluster.written import Kept
from controller.commands.uninstall import Uninstall, as_text, summary
from controller.errors import ClusterError, Refused
from controller.gatekeeper.expansion import EXPANSION_REFS, expansion_templates, with_source
from controller.gatekeeper.naming import ADDON, OwnershipMarks
from controller.gatekeeper.syncset import SYNCSET_REF, syncset
from tests.resources import ASSIGNED, SYNCS, assigned_policy, lease, policy_sync
from tests.unit.cluster_builders import (
    CLUSTER_ID,
    MARKS,
    constraint,
    desired_state,
    foreign,
    live,
    member,
    mutator,
    template,
)
from tests.unit.fake_api import FakeApi, status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.cluster.apply import Result

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
KINDS = ("assignedpolicies.azpolicy.dev", "policysyncs.azpolicy.dev")
NAMESPACE = "azpolicy-system"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
REPORTS = (
    ("/apis/openreports.io/v1alpha1/clusterreports", "azpolicy-assignments"),
    ("/apis/openreports.io/v1alpha1/namespaces/shop/reports", "azpolicy"),
    ("/apis/wgpolicyk8s.io/v1alpha2/namespaces/shop/policyreports", "azpolicy-2"),
)
MAPS = "/api/v1/namespaces/{}/configmaps"


async def make(api: FakeApi, collection: str, document: Mapping[str, Any]) -> str:
    """Creates an object, and gives its path."""
    namespaced = {"namespace": collection.split("/")[-2]} if "/namespaces/" in collection else {}
    made = {"kind": "Any", **document, "metadata": {**document["metadata"], **namespaced}}
    assert (await api.request("POST", collection, body=made)).ok
    return f"{collection}/{document['metadata']['name']}"


async def config_map(api: FakeApi, namespace: str, name: str, **data: str) -> str:
    return await make(api, MAPS.format(namespace), {"metadata": {"name": name}, "data": data})


async def installed(*, holder: str = "") -> tuple[FakeApi, list[str]]:
    """A cluster with all that azpolicy makes, and the paths of it in an order in which it may go."""
    api = FakeApi()
    for wanted in (constraint(), mutator(), template()):
        api.put(live(wanted))
    of_gatekeeper = [kind_of(each.ref).path(each.ref.name) for each in (constraint(), mutator(), template())]
    await make(api, SYNCS, policy_sync())
    await make(api, ASSIGNED, assigned_policy())
    ours = [await make(api, CRDS, {"metadata": {"name": name}}) for name in KINDS]
    ours += [
        await config_map(api, NAMESPACE, f"azure-policy-sync-{name}") for name in ("state", "state-b1", "gatekeeper")
    ]
    ours += [await config_map(api, "kube-public", "azure-policy-sync", **{"cluster-id": CLUSTER_ID})]
    ours += [await make(api, LEASES.format(NAMESPACE), lease(holder))]
    return api, [*of_gatekeeper, *ours]


async def run(api: FakeApi, **options: Any) -> tuple[Result, ...]:
    """Uninstalls without asking."""
    job = Uninstall(api, MARKS, **{"namespace": None, **options})
    return (await job.remove(await job.survey(), lambda _: None)).results


def deletions(api: FakeApi) -> list[str]:
    return [call.path for call in api.calls if call.method == "DELETE"]


async def test_everything_goes_the_constraint_before_its_template_and_the_lease_last() -> None:
    api, ours = await installed()

    results = await run(api)

    assert {result.action for result in results} == {Action.DELETED}
    assert sorted(deletions(api)) == sorted(ours)
    kinds = [path.split("/")[-2] for path in deletions(api)]
    assert kinds.index("k8sthing") < kinds.index("constrainttemplates")
    assert kinds[3:] == [*["customresourcedefinitions"] * 2, *["configmaps"] * 4, "leases"]


async def test_what_was_stripped_of_every_mark_goes_too_as_the_operator_remembers_it() -> None:
    api, _ = await installed()
    bare = {"labels": None, "annotations": None, "managedFields": None}
    objects = (constraint(), mutator(), template())
    for wanted in objects:
        api.merge(kind_of(wanted.ref).path(wanted.ref.name), {"metadata": bare})
    uids = {each.ref: api.found(each.ref).uid for each in objects}
    api.drop(f"{MAPS.format(NAMESPACE)}/azure-policy-sync-state")
    await LastState(api, NAMESPACE, MARKS).save(Kept(desired_state(*objects), uids))

    await run(api)

    assert not any(api.has(each.ref) for each in objects)


async def test_a_second_run_finds_nothing() -> None:
    api, _ = await installed()
    await run(api)

    found = await Uninstall(api, MARKS, None).survey()

    assert (found.count, found.held) == (0, ())
    assert list(as_text(found))[-1] == "uninstall: nothing to delete"


@pytest.mark.parametrize("done", range(9))
async def test_a_run_that_was_killed_is_finished_by_the_next(done: int) -> None:
    api, ours = await installed()
    for path in ours[:done]:
        api.drop(path)

    await run(api)

    assert not api.paths & set(ours)


async def test_what_is_not_ours_is_never_touched() -> None:
    api, _ = await installed()
    theirs = [
        foreign(template("K8sForeign")),
        foreign(constraint("K8sForeign", by=member("f"))),
        foreign(mutator(by=member("g"))),
    ]
    for each in theirs:
        api.put(each)
    maps = ("azure-policy-sync-stateful", "azure-policy-sync-state-x", "azure-policy-sync", "kube-root-ca.crt")
    kept = [await config_map(api, NAMESPACE, name) for name in maps]
    kept += [await config_map(api, "default", "azure-policy-sync-state")]
    kept += [await make(api, LEASES.format(NAMESPACE), {"metadata": {"name": "another"}})]
    kept += [await make(api, CRDS, {"metadata": {"name": "policysyncs.example.org"}})]

    await run(api)

    assert all(api.has(each.ref) for each in theirs)
    assert api.paths >= set(kept)


async def test_a_template_that_somebody_elses_constraint_uses_is_kept_and_told() -> None:
    api, _ = await installed()
    api.put(foreign(constraint(), name="handmade"))
    job = Uninstall(api, MARKS, None)
    found = await job.survey()

    outcome = await job.remove(found, lambda _: None)

    assert (
        "= in-use ConstraintTemplate/k8sthing: kept: constraints that are not ours use it: K8sThing/handmade"
        in list(as_text(found))
    )
    assert api.has(template().ref)
    assert not api.has(constraint().ref)
    assert summary(outcome) == "uninstall: 9 deleted, 1 kept, 0 failed"
    # And so it stays: what is kept is no reason to run again.
    again = await job.survey()
    assert again.count == len([path for path in api.paths if "azpolicy.dev" in path and CRDS in path]) == 0


async def test_kinds_can_be_kept_and_lose_their_objects() -> None:
    api, _ = await installed()

    await run(api, keep_kinds=True)

    assert {path for path in api.paths if "azpolicy.dev" in path} == {f"{CRDS}/{name}" for name in KINDS}


async def test_a_namespace_without_a_lease_is_searched_where_it_is_named() -> None:
    api, ours = await installed()
    api.drop(ours[-1])

    await run(api, namespace=NAMESPACE)

    assert not api.paths & set(ours)


async def test_a_cluster_that_has_lost_gatekeeper_is_cleared_of_the_rest() -> None:
    api, ours = await installed()
    gone = [path for path in ours if "gatekeeper.sh" in path]
    for path in gone:
        api.drop(path)
    api.at("GET", "/constrainttemplates", status(404, "not found"), times=2)

    await run(api)

    assert not api.paths & set(ours)


async def test_while_a_deletion_fails_the_record_and_the_kinds_stay() -> None:
    api, ours = await installed()
    api.at("DELETE", mutator().ref.name, status(403, "forbidden", "Forbidden"))

    results = await run(api)

    assert [result.ref for result in results if result.action is Action.FAILED] == [mutator().ref]
    assert api.paths >= set(ours[3:])


async def test_a_belonging_that_cannot_go_is_reported_and_the_others_go() -> None:
    api, ours = await installed()
    api.at("DELETE", "azure-policy-sync-state", status(403, "forbidden", "Forbidden"))

    results = await run(api)

    [failed] = [result for result in results if result.action is Action.FAILED]
    assert str(failed.ref) == f"ConfigMap/{NAMESPACE}/azure-policy-sync-state"
    assert (failed.reason, failed.message) == ("Forbidden", "forbidden")
    assert api.paths & set(ours) == {MAPS.format(NAMESPACE) + "/azure-policy-sync-state"}


async def test_objects_that_come_back_tell_of_an_operator_without_a_lease() -> None:
    api, ours = await installed()
    job = Uninstall(api, MARKS, None)
    found = await job.survey()
    api.at("GET", "/constrainttemplates", act=lambda: api.put(live(template())))

    with pytest.raises(Refused, match=r"ConstraintTemplate/k8sthing came back: an operator without a Lease runs"):
        await job.remove(found, lambda _: None)

    assert api.paths >= set(ours[3:])


async def test_what_finalizers_hold_is_told_and_not_deleted_again() -> None:
    api, _ = await installed()
    api.put(live(constraint(by=member("held")), deleting=True, finalizers=["example.org/hold"]))

    found = await Uninstall(api, MARKS, None).survey()

    held = constraint(by=member("held")).ref
    assert found.held == (held,)
    assert f"! wait {held}: it is already being deleted, and finalizers hold it" in list(as_text(found))


async def test_the_plan_names_where_it_is_about_and_every_object() -> None:
    api, _ = await installed()

    lines = list(as_text(await Uninstall(api, MARKS, None).survey()))

    assert lines[0].endswith(f", recorded as {CLUSTER_ID}")
    assert lines[1:] == [
        f"- delete {constraint().ref}",
        f"- delete {mutator().ref}",
        "- delete ConstraintTemplate/k8sthing",
        *(f"- delete CustomResourceDefinition/{name}" for name in KINDS),
        f"- delete ConfigMap/{NAMESPACE}/azure-policy-sync-state",
        f"- delete ConfigMap/{NAMESPACE}/azure-policy-sync-state-b1",
        f"- delete ConfigMap/{NAMESPACE}/azure-policy-sync-gatekeeper",
        "- delete ConfigMap/kube-public/azure-policy-sync",
        f"- delete Lease/{NAMESPACE}/azure-policy-sync",
        "uninstall: 10 to delete",
    ]


async def test_a_lease_that_is_renewed_refuses_and_names_its_holder() -> None:
    api, ours = await installed(holder="azpolicy-0")
    renewed = {"spec": {"renewTime": "2026-03-01T12:00:00.000000Z"}}
    api.at("GET", "/leases/azure-policy-sync")
    api.at("GET", "/leases/azure-policy-sync", act=lambda: api.merge(ours[-1], renewed))

    with pytest.raises(Refused, match=rf"the operator azpolicy-0 in {NAMESPACE} runs .*helm uninstall"):
        await Uninstall(api, MARKS, None).refuse_beside_operator()


async def test_a_lease_that_is_taken_meanwhile_refuses() -> None:
    api, ours = await installed(holder="azpolicy-0")
    api.at("GET", "/leases/azure-policy-sync")
    api.at("GET", "/leases/azure-policy-sync", act=lambda: api.merge(ours[-1], {"metadata": {"namespace": "other"}}))

    with pytest.raises(Refused, match="azpolicy-0 in other runs"):
        await Uninstall(api, MARKS, None).refuse_beside_operator()


async def test_a_lease_that_nobody_renews_for_as_long_as_it_lasts_is_none() -> None:
    api, ours = await installed(holder="azpolicy-0")
    api.merge(ours[-1], {"spec": {"leaseDurationSeconds": 1}})

    await Uninstall(api, MARKS, None).refuse_beside_operator()

    assert sum(call.path.endswith("/leases") for call in api.calls) >= 2


async def test_a_lease_that_was_given_up_needs_no_second_look() -> None:
    api, _ = await installed(holder="")
    before = api.count("GET")

    await Uninstall(api, MARKS, None).refuse_beside_operator()

    assert api.count("GET") == before + 1


async def test_leases_that_may_not_be_read_are_an_error() -> None:
    api, _ = await installed()
    api.at("GET", "/leases/azure-policy-sync", status(403, "forbidden", "Forbidden"), times=2)

    with pytest.raises(ClusterError, match="no right to read the operator's Lease"):
        await Uninstall(api, MARKS, None).refuse_beside_operator()


async def test_the_add_ons_marks_are_refused_while_it_is_in_the_cluster() -> None:
    api, _ = await installed()
    await make(api, "/apis/apps/v1/namespaces/kube-system/deployments", {"metadata": {"name": "azure-policy"}})

    with pytest.raises(Refused, match=ADDON):
        await Uninstall(api, OwnershipMarks(ADDON), None).survey()


async def test_the_syncset_goes_with_the_templates_that_needed_it() -> None:
    api, _ = await installed()
    api.put(live(syncset(frozenset(), MARKS)))

    await run(api)

    assert not api.has(SYNCSET_REF)
    order = [path.rpartition("/")[0].rpartition("/")[2] for path in deletions(api)]
    assert order.index("constrainttemplates") < order.index("syncsets")


async def test_expansion_goes_with_the_policies_that_needed_it() -> None:
    api, _ = await installed()
    for made in expansion_templates([with_source(constraint(), "All")], MARKS):
        api.put(live(made))

    await run(api)

    assert not any(api.has(ref) for ref in EXPANSION_REFS)


async def test_our_reports_go_and_those_of_others_stay() -> None:
    api, ours = await installed()
    labels = {"managed-by": MARKS.managed_by}
    reports = [await make(api, where, {"metadata": {"name": name, "labels": labels}}) for where, name in REPORTS]
    foreign_names = [("azpolicy", {"managed-by": "kyverno"}), ("azpolicy-of-the-shop", labels), ("azpolicy-3", {})]
    foreign_reports = [
        await make(
            api, "/apis/openreports.io/v1alpha1/namespaces/web/reports", {"metadata": {"name": n, "labels": own}}
        )
        for n, own in foreign_names
    ]

    await run(api)

    assert set(deletions(api)) == {*ours, *reports}
    assert set(foreign_reports) <= api.paths
