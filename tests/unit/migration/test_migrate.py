"""Moving from the add-on: what is renamed, what covers what, what is compared and checked, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from controller.cli.main import main
from controller.cluster.addon import ObjectsByOwner, Owner, owner_of, read_by_owner
from controller.cluster.apply import Applier
from controller.cluster.changes import Create, Delete, Keep, Replace
from controller.cluster.client import Response
from controller.cluster.cluster_record import ClusterRecord, Recorded
from controller.cluster.dry_run import DryRunAnswer, DryRunCache
from controller.cluster.installation import Installation
from controller.cluster.kinds import LiveObject
from controller.cluster.ownership import Ownership, ownership
from controller.cluster.plan import make_plan
from controller.cluster.planner import Planner
from controller.cluster.prune import PruneLimit
from controller.commands.session import Session
from controller.errors import InputError, Refused
from controller.gatekeeper.deviations import Change, Deviations, Newly
from controller.gatekeeper.expansion import expansion_templates, with_source
from controller.gatekeeper.model import ObjectRef, Role
from controller.gatekeeper.naming import ADDON, OwnershipMarks
from controller.migration.migrate import Check, Direction, MigrationStep, Relation, Step, _prepare, check, compare
from controller.migration.parallel import additions, in_dry_run, parallel, parallel_kind
from controller.migration.strictness import shortfalls
from controller.migration.view import as_json, as_text
from tests.unit.cluster_builders import (
    CLUSTER_ID,
    KIND,
    MARKS,
    constraint,
    desired_state,
    foreign,
    inventory,
    live,
    member,
    mutator,
    not_applied,
    template,
    unresolved,
)
from tests.unit.fake_api import BAD_REGO, FakeApi, status

if TYPE_CHECKING:
    from controller.gatekeeper.model import DesiredObject, DesiredState

DEPLOYMENT = "/apis/apps/v1/namespaces/kube-system/deployments/azure-policy"
RUNNING = Response(200, {"kind": "Deployment", "metadata": {"name": "azure-policy"}})
OTHERS = "azurepolicy-thing-0123456789abcdef0123"
ALL = (template(), constraint(), mutator())


def addons(of: DesiredObject, *, name: str = "", leaving: bool = False, **spec: Any) -> LiveObject:
    """What the add-on has for the same: its marks, a name of its own, and what differs in its spec."""
    marks = {key: value for key, value in live(of).annotations.items() if "installed-by" not in key}
    named = name or (of.ref.name if of.role is Role.TEMPLATE else OTHERS)
    manifest: Any = of.manifest
    changed = {**manifest["spec"], **spec}
    label = {"managed-by": ADDON}
    return enforced(
        live(of, name=named, labels=label, annotations=marks, managers=("x",), spec=changed, deleting=leaving)
    )


def enforced(made: LiveObject, *, by: bool = True) -> LiveObject:
    """The object as Gatekeeper says that it enforces it, or not yet."""
    status = {"byPod": [{"observedGeneration": made.generation, "enforced": by}]}
    return LiveObject(made.ref, {**made.manifest, "status": status})


def by_owner(
    *objects: LiveObject, unready: dict[str, str] | None = None, deployments: tuple[str, ...] = ()
) -> ObjectsByOwner:
    """The cluster with these objects."""
    sorted_out = {owner: tuple(each for each in objects if owner_of(each, MARKS) is owner) for owner in Owner}
    return ObjectsByOwner(sorted_out, unready or {}, deployments)


def moved(*objects: DesiredObject) -> tuple[DesiredObject, ...]:
    return parallel(desired_state(*objects)).objects


# --- parallel --------------------------------------------------------------------------------------------------------


def test_a_template_and_its_constraints_move_to_a_kind_of_their_own_and_a_mutator_stays() -> None:
    made, of_it, mutation = moved(*ALL)

    assert made.ref == ObjectRef(template().ref.group, "ConstraintTemplate", f"{KIND.lower()}parallel")
    spec: Any = made.manifest["spec"]
    assert spec["crd"]["spec"]["names"] == {"kind": f"{KIND}Parallel"}
    assert of_it.ref == ObjectRef(constraint().ref.group, f"{KIND}Parallel", constraint().ref.name)
    assert mutation == mutator()


def test_a_short_name_is_not_taken_along() -> None:
    manifest = json.loads(json.dumps(template().manifest))
    manifest["spec"]["crd"]["spec"]["names"]["shortNames"] = ["thing"]
    named = replace(template(), manifest=manifest)

    (made,) = moved(named)

    assert "shortNames" not in json.dumps(made.manifest)


@pytest.mark.parametrize("length", [57, 58, 63])
def test_a_kind_beside_another_is_one_that_kubernetes_takes_and_tells_long_kinds_apart(length: int) -> None:
    kinds = [f"{'K' * (length - 1)}{letter}" for letter in "ab"]

    made = {parallel_kind(kind) for kind in kinds}

    assert len(made) == len(kinds)
    assert {len(kind) for kind in made} == {63}


def test_in_dry_run_constraints_only_count_and_there_is_no_mutator() -> None:
    quiet = in_dry_run(desired_state(*ALL))

    assert [wanted.role for wanted in quiet.objects] == [Role.TEMPLATE, Role.CONSTRAINT]
    spec: Any = quiet.objects[1].manifest["spec"]
    assert spec["enforcementAction"] == "dryrun"


def test_a_shadow_changes_and_deletes_nothing_that_is_there() -> None:
    other = constraint(by=member("gone"))
    quiet = in_dry_run(desired_state(template(), constraint()))
    enforcing = live(constraint())
    found = inventory(live(template()), enforcing, live(other))
    answered = make_plan(quiet, found, MARKS, answers={enforcing.ref: _answer(quiet.objects[1])})
    assert [type(change) for change in answered.changes] == [Keep, Replace, Delete]

    assert [type(change) for change in additions(answered).changes] == [Keep]


def _answer(wanted: DesiredObject) -> DryRunAnswer:
    return DryRunAnswer(live(wanted))


def test_what_is_beside_the_addons_goes_once_the_usual_is_wanted_and_enforced() -> None:
    """The ordinary plan finishes the way: a move from kind to kind, whose old constraint waits for the new one."""
    there = [live(wanted) for wanted in moved(*ALL)]

    plan = make_plan(desired_state(*ALL), inventory(*there), MARKS)

    deletes = {change.live.ref.kind: change for change in plan.of(Delete) if isinstance(change, Delete)}
    assert {change.desired.ref for change in plan.of(Create) if isinstance(change, Create)} == {
        wanted.ref for wanted in ALL if wanted.role is not Role.MUTATOR
    }
    assert deletes[f"{KIND}Parallel"].successors == (constraint().ref,)
    assert set(deletes) == {f"{KIND}Parallel", "ConstraintTemplate"}


# --- whose -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [{"managed-by": MARKS.managed_by}, {}], ids=["our label", "no label"])
def test_what_bears_the_addons_mark_is_its_own_and_what_we_wrote_is_ours(label: dict[str, str]) -> None:
    relabelled = live(constraint(), labels={"managed-by": ADDON})

    assert owner_of(addons(constraint()), MARKS) is Owner.ADDON
    assert owner_of(relabelled, MARKS) is Owner.ADDON
    assert owner_of(live(constraint(), labels=label), MARKS) is Owner.AZPOLICY
    assert owner_of(foreign(constraint()), MARKS) is Owner.OTHER


@pytest.mark.parametrize("annotation", ["constraint-installed-by", "constraint-template-installed-by"])
def test_an_adopted_mark_makes_an_object_ours_and_no_other_mark_does(annotation: str) -> None:
    adopting = OwnershipMarks(adopted=frozenset({ADDON}))
    by_annotation = live(template(), labels={}, annotations={annotation: ADDON}, managers=("x",))

    assert ownership(addons(template()), adopting) is Ownership.OURS
    assert ownership(by_annotation, adopting) is Ownership.OURS
    assert ownership(foreign(template()), adopting) is Ownership.FOREIGN
    assert ownership(addons(template()), MARKS) is Ownership.FOREIGN


def test_adopting_takes_a_template_over_and_deletes_the_constraint_once_ours_is_enforced() -> None:
    theirs = [addons(template()), addons(constraint())]

    plan = make_plan(
        desired_state(template(), constraint()),
        inventory(*theirs),
        OwnershipMarks(adopted=frozenset({ADDON})),
        answers={template().ref: _answer(template())},
    )

    [taken, made, gone] = plan.changes
    assert isinstance(taken, Replace)
    assert taken.target["metadata"]["labels"] == MARKS.labels()
    assert isinstance(made, Create)
    assert isinstance(gone, Delete)
    assert (gone.live.ref.name, gone.successors) == (OTHERS, (constraint().ref,))


# --- what covers what ------------------------------------------------------------------------------------------------

PODS = [{"apiGroups": [""], "kinds": ["Pod"]}]
MANY = [{"apiGroups": ["", "apps"], "kinds": ["Pod", "Deployment"]}]
SCOPED = {"enforcementAction": "scoped", "scopedEnforcementActions": [{"action": "warn"}, {"action": "dryrun"}]}


def _matching(**match: Any) -> dict[str, Any]:
    return {"match": match}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({}, {}),
        ({}, {"enforcementAction": "deny"}),
        ({"enforcementAction": "warn"}, {"enforcementAction": "deny"}),
        ({"enforcementAction": "dryrun"}, {"enforcementAction": "warn"}),
        (SCOPED, {"enforcementAction": "warn"}),
        (_matching(kinds=PODS), _matching(kinds=MANY)),
        (_matching(kinds=PODS), _matching(kinds=[{"apiGroups": ["*"], "kinds": ["*"]}])),
        (_matching(kinds=PODS), {}),
        (_matching(namespaces=["a"]), _matching(namespaces=["b", "a"])),
        (_matching(namespaces=["a"]), _matching(namespaces=[])),
        (_matching(excludedNamespaces=["a"]), _matching(excludedNamespaces=["kube-system", "a"])),
        (_matching(excludedNamespaces=["a"]), {}),
        (_matching(source="Original"), _matching(source="All")),
        (_matching(source="Original"), _matching(source="Original")),
        (_matching(scope="Namespaced"), _matching(scope="*")),
        (_matching(labelSelector={"matchLabels": {"a": "b"}}), _matching(labelSelector={})),
        ({"parameters": {"cpu": 1}}, {"parameters": {"cpu": 1.0}}),
        ({"parameters": {}}, {}),
    ],
)
def test_it_covers(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    assert shortfalls(theirs, ours) == ()


@pytest.mark.parametrize(
    ("theirs", "ours", "where"),
    [
        ({}, {"enforcementAction": "dryrun"}, "enforcementAction is dryrun, not deny"),
        (SCOPED, {"enforcementAction": "dryrun"}, "enforcementAction is dryrun, not scoped"),
        (_matching(kinds=MANY), _matching(kinds=PODS), "match.kinds"),
        ({}, _matching(kinds=PODS), "match.kinds"),
        (_matching(namespaces=["a", "b"]), _matching(namespaces=["a"]), "match.namespaces"),
        ({}, _matching(namespaces=["a"]), "match.namespaces"),
        (_matching(excludedNamespaces=["a"]), _matching(excludedNamespaces=["a", "b"]), "match.excludedNamespaces"),
        ({}, _matching(source="Original"), "match.source"),
        (_matching(scope="*"), _matching(scope="Cluster"), "match.scope"),
        ({}, _matching(labelSelector={"matchLabels": {"a": "b"}}), "match.labelSelector"),
        ({"parameters": {"cpu": 1}}, {"parameters": {"cpu": True}}, "parameters"),
        ({"parameters": {"cpu": 1}}, {}, "parameters"),
        ({"location": "spec.a"}, {"location": "spec.b"}, "location"),
    ],
)
def test_it_does_not_cover_and_says_where(theirs: dict[str, Any], ours: dict[str, Any], where: str) -> None:
    [told] = shortfalls(theirs, ours)

    assert told.startswith(where)


# --- comparing -------------------------------------------------------------------------------------------------------


def relations(desired: DesiredState, *there: LiveObject) -> list[str]:
    return [each.relation.value for each in compare(desired, by_owner(*there)).findings]


@pytest.mark.parametrize(
    ("there", "relation", "good"),
    [
        ([], Relation.ONLY_AZPOLICY, True),
        ([addons(constraint())], Relation.SAME, True),
        ([addons(constraint(), enforcementAction="dryrun")], Relation.COVERS, True),
        ([addons(constraint(), parameters={"cpu": "1"})], Relation.DIFFERS, False),
        ([addons(constraint("K8sOlder"))], Relation.DIFFERS, False),
    ],
)
def test_a_member_is_compared_by_its_ids(there: list[LiveObject], relation: Relation, *, good: bool) -> None:
    answer = compare(desired_state(constraint()), by_owner(*there))

    assert [each.relation for each in answer.findings] == [relation]
    assert answer.good is good


@pytest.mark.parametrize("source", ["", "All", "Original"])
def test_all_and_original_are_the_same_where_nothing_is_expanded(source: str) -> None:
    """The add-on's constraint may say no source, which is All to Gatekeeper, and ours says Azure's default."""
    ours, match = with_source(constraint(), "Original"), {"source": source} if source else {}
    theirs = addons(constraint(), match={"kinds": ours.manifest["spec"]["match"]["kinds"], **match})  # type: ignore[index,call-overload]
    expansion = expansion_templates([with_source(constraint(), "All")], MARKS)[0]

    assert compare(desired_state(ours), by_owner(theirs)).good
    assert compare(desired_state(ours), by_owner(theirs, live(expansion))).good
    assert compare(desired_state(ours), by_owner(theirs, foreign(expansion))).good is (source == "Original")


def test_templates_are_compared_by_their_rules_and_not_by_what_the_server_adds() -> None:
    spec: Any = template().manifest["spec"]
    defaulted = {"spec": {**spec["crd"]["spec"], "validation": {"legacySchema": False}}}
    other = [{"target": "admission.k8s.gatekeeper.sh", "rego": "package other"}]
    wanted = desired_state(template())

    assert relations(wanted, addons(template(), crd=defaulted)) == ["same"]
    assert relations(wanted, addons(template(), targets=other)) == ["differs"]
    assert relations(desired_state(), addons(template())) == ["only-addon"]
    assert relations(wanted) == ["only-azpolicy"]


@pytest.mark.parametrize(
    ("desired", "why"),
    [
        (desired_state(), "no assignment that was read contains it"),
        (desired_state(outcomes=[not_applied(member(reference="ONE"))]), "for azpolicy it is NotApplied (Disabled)"),
        (desired_state(outcomes=[unresolved(member(whole=True))]), "for azpolicy it is Unresolved (Expression)"),
    ],
)
def test_what_only_the_addon_has_comes_with_the_reason(desired: DesiredState, why: str) -> None:
    answer = compare(desired, by_owner(addons(constraint(by=member(reference="one")))))

    [found] = answer.findings
    assert found.relation is Relation.ONLY_ADDON
    assert found.notes[0].startswith(why)
    assert not answer.good


def test_the_text_shows_what_differs_from_the_addons_to_ours_and_both_audits() -> None:
    audited = {"auditTimestamp": "2026-03-01T12:00:00Z", "totalViolations": 3, "violations": []}
    theirs, ours = addons(constraint(), parameters={"cpu": "1"}), live(moved(constraint())[0])
    both = [LiveObject(each.ref, {**each.manifest, "status": audited}) for each in (theirs, ours)]

    answer = compare(desired_state(constraint()), by_owner(*both))

    assert as_text(answer).splitlines() == [
        f"! differs {KIND}/{OTHERS}",
        "    /assignments/a",
        "    parameters differ from the other's: it is not known which is stricter",
        '    spec.parameters: {"cpu": "1"} -> none',
        "    violations at the last audits: 3 by the add-on's, 3 by azpolicy's",
        "compare: 0 same, 0 covers, 1 differs, 0 only-addon, 0 only-azpolicy",
    ]


def test_rules_are_too_long_for_a_line_and_only_said_to_differ() -> None:
    other = [{"target": "admission.k8s.gatekeeper.sh", "rego": "package other\n" * 20}]

    told = as_text(compare(desired_state(template()), by_owner(addons(template(), targets=other))))

    assert "    targets[0].rego changed\n" in told


def bundled(folder: str) -> DesiredObject:
    """A template of the bundle, by its place there."""
    manifest = json.loads(json.dumps(template().manifest))
    url = f"https://store.policy.core.windows.net/kubernetes/{folder}/template.yaml"
    manifest["metadata"]["annotations"] |= {"constraint-template": url}
    return replace(template(), manifest=manifest)


DEVIATIONS = Deviations({"thing/v1": (Change("D4", Newly.DENIED, "a wildcard"),)}, frozenset({"thing/v2"}))


def test_a_template_that_decides_otherwise_than_azures_says_what_would_change() -> None:
    wanted = bundled("thing/v1")

    answer = compare(desired_state(wanted), by_owner(addons(wanted)), DEVIATIONS)

    assert "    newly denied (D4): a wildcard\n" in as_text(answer)
    [found] = json.loads(as_json(answer))["objects"]
    assert found["changes"] == [{"id": "D4", "newly": "denied", "what": "a wildcard"}]


def test_a_template_that_azure_never_published_is_said_to_be_not_verified() -> None:
    wanted = bundled("thing/v2")

    told = as_text(compare(desired_state(wanted), by_owner(addons(wanted)), DEVIATIONS))

    assert "whether it decides as azpolicy's is not verified" in told


def test_where_the_addon_has_no_such_template_nothing_changes() -> None:
    told = as_text(compare(desired_state(bundled("thing/v1")), by_owner(), DEVIATIONS))

    assert "newly" not in told


def test_the_json_of_a_comparison_names_both_objects_and_the_member() -> None:
    document = json.loads(as_json(compare(desired_state(constraint()), by_owner(addons(constraint())))))

    [found] = document["objects"]
    assert document["schema"] == "azpolicy.dev/migrate/v1"
    assert document["counts"]["same"] == 1
    assert (found["addon"]["name"], found["azpolicy"]["name"]) == (OTHERS, constraint().ref.name)
    assert (found["assignmentId"], found["violations"]) == ("/assignments/a", {"addon": None, "azpolicy": None})


# --- checking --------------------------------------------------------------------------------------------------------

BESIDE = [enforced(live(wanted)) for wanted in moved(*ALL)]
THEIRS = [addons(template()), addons(constraint())]


def checked(*there: LiveObject, direction: Direction = Direction.FROM_ADDON, **keywords: Any) -> Check:
    return check(direction, desired_state(*ALL), by_owner(*there, **keywords))


def missing(answer: Check) -> list[str]:
    return [line for each in answer.covers for line in each.missing]


def test_the_addon_can_be_switched_off_when_ours_are_enforced_on_a_template_of_ours() -> None:
    answer = checked(*THEIRS, addons(mutator(), name=f"{OTHERS}m"), *BESIDE)

    assert missing(answer) == []
    assert answer.good
    assert as_text(answer).splitlines()[-1] == "check: 2 covered, 0 missing: the add-on can be switched off"


@pytest.mark.parametrize(
    ("ours", "unready", "told"),
    [
        ([], {}, "azpolicy has not created it yet"),
        ([BESIDE[0], enforced(BESIDE[1], by=False)], {}, "it is not enforced: Gatekeeper does not enforce it yet"),
        ([BESIDE[1]], {}, "its template does not belong to azpolicy: somebody else may delete it"),
        (BESIDE, {f"{KIND.lower()}parallel": "no CRD"}, "its template is not ready: no CRD"),
        ([enforced(live(constraint()))], {}, "its template does not belong to azpolicy: somebody else may delete it"),
        ([enforced(live(x)) for x in in_dry_run(desired_state(*moved(*ALL))).objects], {}, "enforcementAction is"),
    ],
)
def test_the_addon_must_stay_while_something_is_missing(
    ours: list[LiveObject], unready: dict[str, str], told: str
) -> None:
    answer = checked(*THEIRS, *ours, unready=unready)

    [why] = missing(answer)
    assert why.startswith(told)
    assert not answer.good


def test_of_several_candidates_the_one_that_covers_counts() -> None:
    usual = enforced(live(constraint(), spec={"enforcementAction": "dryrun"}))

    assert checked(*THEIRS, usual, *BESIDE).good


def test_a_mutator_that_names_no_member_is_covered_by_one_that_does_the_same() -> None:
    theirs = addons(mutator())
    nameless = LiveObject(theirs.ref, {**theirs.manifest, "metadata": {**theirs.metadata, "annotations": {}}})

    assert checked(nameless, BESIDE[2]).good
    assert not checked(nameless).good


def test_another_text_of_the_template_is_a_note_and_others_constraints_are_named() -> None:
    other = [{"target": "admission.k8s.gatekeeper.sh", "rego": "package other"}]
    bystander = foreign(constraint(), name="handmade")

    answer = checked(addons(template(), targets=other), THEIRS[1], *BESIDE, bystander, deployments=("azure-policy",))

    assert answer.good
    assert as_text(answer).splitlines()[1:4] == [
        "    its template has another text: compare the audits of both",
        f"note: {KIND}/handmade belongs to neither: it is deleted if the add-on's template is deleted",
        "note: the add-on's deployment azure-policy is in the cluster",
    ]


def test_on_the_way_back_ours_must_be_covered_by_the_addons() -> None:
    theirs = [*THEIRS, addons(mutator(), name=f"{OTHERS}m")]

    bystander = foreign(constraint(), name="handmade")

    there = checked(*BESIDE, *theirs, bystander, direction=Direction.TO_ADDON)
    gone = checked(*BESIDE, direction=Direction.TO_ADDON)

    assert there.good
    assert there.bystanders == ()
    assert as_text(there).splitlines()[-1] == "check: 2 covered, 0 missing: azpolicy can be switched off"
    assert set(missing(gone)) == {"the add-on has nothing for it"}


def test_a_cluster_without_the_addon_has_nothing_to_be_covered() -> None:
    answer = checked(*BESIDE, foreign(constraint(), name="handmade"))

    assert answer.good
    assert as_text(answer) == "check: the cluster has no objects of the add-on\n"


def test_the_json_of_a_check_names_what_covers_and_what_is_missing() -> None:
    document = json.loads(as_json(checked(*THEIRS)))

    [found] = document["objects"]
    assert (document["step"], document["direction"], document["good"]) == ("check", "from-addon", False)
    assert (found["object"]["name"], found["by"]) == (OTHERS, None)
    assert found["missing"] == ["azpolicy has not created it yet"]


# --- in a cluster ----------------------------------------------------------------------------------------------------


async def test_the_sides_are_read_without_what_is_being_deleted() -> None:
    api = FakeApi()
    for each in (addons(template()), addons(mutator()), live(constraint()), foreign(template("K8sOther"))):
        api.put(each)
    api.put(addons(template("K8sLeaving"), leaving=True))
    api.at("GET", DEPLOYMENT, RUNNING)

    read = await read_by_owner(api, MARKS, ALL)

    assert [each.ref.kind for each in read.objects[Owner.ADDON]] == ["Assign", "ConstraintTemplate"]
    assert [each.ref for each in read.objects[Owner.AZPOLICY]] == [constraint().ref]
    assert [each.ref.name for each in read.objects[Owner.OTHER]] == ["k8sother"]
    assert (read.unready, read.deployments) == ({}, ("azure-policy",))


async def test_a_template_that_gatekeeper_does_not_take_is_not_ready() -> None:
    api = FakeApi()
    api.put(live(template(rego=BAD_REGO)))

    read = await read_by_owner(api, MARKS, ())

    assert read.unready == {KIND.lower(): "ingest_error: rego_parse_error"}


@pytest.mark.parametrize("step", [Step.SHADOW, Step.ENFORCE])
async def test_that_the_lease_may_not_be_read_is_a_note(step: Step) -> None:
    api, cache = FakeApi(), DryRunCache()
    api.at("GET", "/leases", status(403, "leases is forbidden", "Forbidden"), times=2)
    applier, cluster_record = Applier(api, MARKS, cache), ClusterRecord(api, Installation(MARKS))
    session = Session(
        applier, Planner(api, applier, cache, MARKS), cluster_record, desired_state(*ALL), Recorded.of(None)
    )

    ready = await _prepare(step, session, PruneLimit())

    assert ready.notes[0] == "no right to read the operator's Lease: make sure that no operator runs"
    assert ready.plan.writes


async def test_the_addons_own_mark_is_refused_while_its_deployment_is_there() -> None:
    api = FakeApi()
    api.at("GET", DEPLOYMENT, RUNNING, times=2)

    with pytest.raises(Refused, match="--managed-by azure-policy-addon is the add-on's own"):
        await ClusterRecord(api, Installation(OwnershipMarks(ADDON))).check(CLUSTER_ID)

    assert (await ClusterRecord(api, Installation(MARKS)).check(CLUSTER_ID)).cluster_id == ""


async def test_the_addons_own_mark_is_taken_once_it_is_off() -> None:
    assert (await ClusterRecord(FakeApi(), Installation(OwnershipMarks(ADDON))).check(CLUSTER_ID)).cluster_id == ""


@pytest.mark.parametrize("step", [Step.SHADOW, Step.FINISH])
def test_there_are_no_such_steps_on_the_way_back(step: Step) -> None:
    with pytest.raises(InputError, match="its steps are compare, enforce, check, then uninstall"):
        MigrationStep(Direction.TO_ADDON, step)


@pytest.mark.parametrize("arguments", [[], ["--to-addon", "--step", "finish"]])
def test_a_way_that_there_is_not_is_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["migrate", *arguments])

    assert ended.value.code == 2
    assert "--to-addon" in capsys.readouterr().err
