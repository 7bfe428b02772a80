"""Which data a template asks for, what comes of it in the desired state, and when the SyncSet may go."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from controller.azure.model import EnforcementMode
from controller.cluster.changes import Conflict, Create, Delete, Keep, Retain, ref_of
from controller.cluster.plan import make_plan
from controller.cluster.prune import PruneLimit
from controller.errors import InputError
from controller.gatekeeper.documents import DocumentError, DocumentKind, Origin, TemplateDocument, read_document
from controller.gatekeeper.model import DesiredObject, Rendered
from controller.gatekeeper.rego import Reference, references, seeing_only
from controller.gatekeeper.sources import Unavailable, Wanted
from controller.gatekeeper.syncset import (
    ANNOTATION,
    MAX_KINDS,
    SYNCSET_REF,
    DataKind,
    InventoryKinds,
    SyncDataError,
    kinds_of,
    required_data,
    syncset,
)
from controller.gatekeeper.translate import translate
from controller.policy.model import Effect, EffectivePolicy, Match, PublicUrl, TemplatePolicy, Unresolved
from tests.snapshots import template_text
from tests.unit.cluster_builders import (
    MARKS,
    constraint,
    desired_state,
    foreign,
    inventory,
    live,
    member,
    template,
    unresolved,
)

if TYPE_CHECKING:
    from controller.cluster.changes import Change
    from controller.cluster.kinds import LiveObject
    from controller.gatekeeper.documents import Document
    from controller.gatekeeper.model import DesiredState
    from controller.policy.model import Member

SERVICES = DataKind("", "v1", "Service")
INGRESSES = DataKind("networking.k8s.io", "v1", "Ingress")
OLD_INGRESSES = DataKind("extensions", "v1beta1", "Ingress")


def asks(*requirements: list[dict[str, list[str]]]) -> str:
    """The annotation, in quotes as Gatekeeper's documentation writes it."""
    return f'"{json.dumps(list(requirements))}"'


def clause(*kinds: DataKind) -> dict[str, list[str]]:
    return {
        "groups": [k.group for k in kinds],
        "versions": [k.version for k in kinds],
        "kinds": [k.kind for k in kinds],
    }


def data(annotation: str) -> frozenset[DataKind]:
    return required_data({ANNOTATION: annotation})


# --- the annotation --------------------------------------------------------------------------------------------------


def test_a_template_without_the_annotation_needs_no_data() -> None:
    assert required_data({}) == frozenset()


@pytest.mark.parametrize("form", ['"{}"', '\n"{}"\n', "{}"], ids=["quoted", "with newlines", "bare"])
def test_the_annotation_is_read_in_every_form_that_gatekeeper_reads(form: str) -> None:
    assert data(form.format(json.dumps([[clause(SERVICES)]]))) == {SERVICES}


def test_every_requirement_and_every_alternative_of_it_is_asked_for() -> None:
    assert data(asks([clause(SERVICES)], [clause(OLD_INGRESSES), clause(INGRESSES)])) == {
        SERVICES,
        INGRESSES,
        OLD_INGRESSES,
    }


def test_a_clause_means_every_combination_of_its_lists() -> None:
    found = data(asks([{"groups": ["apps", "batch"], "versions": ["v1", "v1beta1"], "kinds": ["A", "B"]}]))

    assert len(found) == 8
    assert DataKind("batch", "v1beta1", "A") in found


@pytest.mark.parametrize(
    "annotation",
    [
        "",
        "null",
        "{}",
        '[["Service"]]',
        "[[]]",
        '[[{"groups": [""], "versions": ["v1"]}]]',
        '[[{"groups": [""], "versions": ["v1"], "kinds": []}]]',
        '[[{"groups": [""], "versions": ["v1"], "kinds": ["*"]}]]',
        '[[{"groups": ["*"], "versions": ["v1"], "kinds": ["Pod"]}]]',
        '[[{"groups": [""], "versions": [""], "kinds": ["Pod"]}]]',
        '[[{"groups": "apps", "versions": ["v1"], "kinds": ["Pod"]}]]',
        '[[{"groups": [{}], "versions": ["v1"], "kinds": ["Pod"]}]]',
        '[[{"groups": [""], "versions": ["v1"], "kinds": ["Pod"], "names": ["x"]}]]',
        "[" * 100_000,
        "9" * 10_000,
    ],
)
def test_an_annotation_that_says_nothing_usable_is_an_error_and_no_crash(annotation: str) -> None:
    with pytest.raises(SyncDataError, match=ANNOTATION):
        data(annotation)


def test_a_page_of_combinations_is_refused_before_it_is_built() -> None:
    names = [f"kind{n}" for n in range(2000)]

    with pytest.raises(SyncDataError, match=f"more than {MAX_KINDS}"):
        data(asks([{"groups": names, "versions": names, "kinds": names}]))


def template_document(annotation: str, kind: str = "K8sLooksAround") -> bytes:
    manifest = json.loads(template_text(kind))
    manifest["metadata"]["annotations"] = {ANNOTATION: annotation}
    return json.dumps(manifest).encode()


def test_a_template_document_knows_the_data_that_it_needs() -> None:
    read = read_document(DocumentKind.TEMPLATE, template_document(asks([clause(SERVICES)])), Origin.URL)

    assert isinstance(read, TemplateDocument)
    assert read.data == {SERVICES}


def test_a_template_document_with_an_unusable_annotation_is_refused() -> None:
    with pytest.raises(DocumentError, match=ANNOTATION):
        read_document(DocumentKind.TEMPLATE, template_document("nonsense"), Origin.URL)


# --- the desired state -----------------------------------------------------------------------------------------------


def policy(name: str) -> EffectivePolicy:
    """A policy whose template has the kind of this name."""
    by = TemplatePolicy(PublicUrl(f"https://store.policy.core.windows.net/kubernetes/{name}/v1/template.yaml"))
    match = Match(api_groups=("",), kinds=("Service",))
    return EffectivePolicy(member(name), Effect.DENY, EnforcementMode.DEFAULT, False, match, by, (), "parameter")


def translated(**annotations: str) -> DesiredState:
    """Policies by the kind of their template, with its annotation; empty where it has none."""
    policies = [policy(name) for name in annotations]
    answers: dict[Wanted, Document | Unavailable] = {}
    for each, (name, annotation) in zip(policies, annotations.items(), strict=True):
        content = template_document(annotation, name) if annotation else template_text(name).encode()
        assert isinstance(each.policy, TemplatePolicy)
        wanted = Wanted(each.policy.template, DocumentKind.TEMPLATE)
        try:
            answers[wanted] = read_document(DocumentKind.TEMPLATE, content, Origin.URL)
        except DocumentError as error:
            answers[wanted] = Unavailable(str(error))
    return translate(policies, answers, cluster_id="/c", marks=MARKS)


def syncsets(state: DesiredState) -> list[DesiredObject]:
    return [wanted for wanted in state.objects if wanted.ref == SYNCSET_REF]


def test_policies_that_look_around_share_one_syncset_behind_the_templates_and_before_the_constraints() -> None:
    state = translated(K8sOne=asks([clause(SERVICES)]), K8sTwo=asks([clause(SERVICES)], [clause(INGRESSES)]))

    [wanted] = syncsets(state)
    assert wanted.manifest == {
        "apiVersion": "syncset.gatekeeper.sh/v1alpha1",
        "kind": "SyncSet",
        "metadata": {
            "name": "azure-policy-sync",
            "labels": {"managed-by": "azure-policy-sync"},
            "annotations": {"constraint-installed-by": "azure-policy-sync"},
        },
        "spec": {
            "gvks": [
                {"group": "", "version": "v1", "kind": "Service"},
                {"group": "networking.k8s.io", "version": "v1", "kind": "Ingress"},
            ]
        },
    }
    assert [o.role for o in state.objects] == ["template", "template", "sync", "constraint", "constraint"]


def test_without_a_policy_that_looks_around_there_is_no_syncset() -> None:
    assert syncsets(translated(K8sOne="")) == []


def test_an_unusable_annotation_leaves_its_own_policies_unresolved_and_no_others() -> None:
    state = translated(K8sBad="[[", K8sGood=asks([clause(SERVICES)]))

    [bad, good] = state.outcomes
    assert isinstance(bad, Unresolved)
    assert ANNOTATION in bad.message
    assert isinstance(good, Rendered)
    assert [kinds_of(wanted.manifest) for wanted in syncsets(state)] == [{SERVICES}]


# --- what a template looks up without asking for it -----------------------------------------------------------------

LOOKS_UP = {
    "ingresses": 'data.inventory.namespace[_]["networking.k8s.io/v1"].Ingress[_]',
    "secrets": 'data.inventory.namespace[_]["v1"].Secret[_]',
    "any version": "data.inventory.namespace[_][version].Ingress[_]",
}
SECRETS_KIND = DataKind("", "v1", "Secret")


def looking_up(*places: str, setting: tuple[str, ...] = (), annotation: str = "") -> DesiredState:
    rule = "".join(f'violation[{{"msg": "x"}}] {{ {LOOKS_UP[place]} }}\n' for place in places)
    manifest = json.loads(template_text("K8sOne", rule))
    if annotation:
        manifest["metadata"]["annotations"] = {ANNOTATION: annotation}
    each = policy("K8sOne")
    assert isinstance(each.policy, TemplatePolicy)
    document = read_document(DocumentKind.TEMPLATE, json.dumps(manifest).encode(), Origin.URL)
    answers = {Wanted(each.policy.template, DocumentKind.TEMPLATE): document}
    return translate([each], answers, cluster_id="/c", marks=MARKS, inventory=InventoryKinds.of(setting))


def replicated(state: DesiredState) -> set[DataKind]:
    return {kind for wanted in syncsets(state) for kind in kinds_of(wanted.manifest)}


def notes(state: DesiredState) -> str:
    [rendered] = state.outcomes
    assert isinstance(rendered, Rendered)
    return "; ".join(rendered.notes)


def test_a_template_that_looks_up_what_it_does_not_ask_for_gets_a_note_and_nothing_is_replicated() -> None:
    state = looking_up("ingresses")

    assert replicated(state) == set()
    assert "looks up networking.k8s.io/v1/Ingress in the cluster without asking for it" in notes(state)
    assert "--inventory-kind networking.k8s.io/v1/Ingress has it replicated" in notes(state)


@pytest.mark.parametrize(
    ("places", "setting", "kinds"),
    [
        (["ingresses"], ("found",), {INGRESSES}),
        (["ingresses"], ("networking.k8s.io/v1/Ingress",), {INGRESSES}),
        (["ingresses"], ("v1/Service",), set()),
        (["ingresses", "secrets"], ("found",), {INGRESSES}),
        (["ingresses", "secrets"], ("found", "v1/Secret"), {INGRESSES, SECRETS_KIND}),
        (["any version"], ("found",), set()),
        (["any version"], ("networking.k8s.io/v1/Ingress", "v1/Secret"), {INGRESSES}),
        ([], ("networking.k8s.io/v1/Ingress", "found"), set()),
    ],
)
def test_the_setting_has_what_a_template_looks_up_replicated_and_secrets_only_by_name(
    places: list[str], setting: tuple[str, ...], kinds: set[DataKind]
) -> None:
    assert replicated(looking_up(*places, setting=setting)) == kinds


def test_what_is_replicated_for_a_template_needs_no_note() -> None:
    assert notes(looking_up("ingresses", setting=("found",))) == ""
    assert notes(looking_up("ingresses", annotation=asks([clause(INGRESSES)]))) == ""
    assert notes(looking_up("any version", annotation=asks([clause(INGRESSES)]))) == ""
    assert "looks up v1/Secret" in notes(looking_up("ingresses", "secrets", setting=("found",)))


def test_what_cannot_be_told_from_the_rego_is_to_be_named() -> None:
    assert "cannot be told from its Rego (*/Ingress): it finds only what is replicated (nothing)" in notes(
        looking_up("any version", setting=("found",))
    )
    assert "it finds only what is replicated (networking.k8s.io/v1/Ingress)" in notes(
        looking_up("any version", setting=("networking.k8s.io/v1/Ingress",))
    )


def test_a_template_that_names_more_kinds_than_may_be_replicated_gets_those_that_are_named_in_the_setting() -> None:
    many = [Reference(f"v{n}", "Thing") for n in range(1, MAX_KINDS + 2)]

    assert len(InventoryKinds.of(["found"]).replicated(many[1:])) == MAX_KINDS
    assert InventoryKinds.of(["found", "v1/Thing"]).replicated(many) == {DataKind("", "v1", "Thing")}


def test_names_that_no_kind_has_are_not_replicated() -> None:
    odd = [Reference("v1", "A B"), Reference("a/b/c", "Thing"), Reference("/v1", "Thing"), Reference("v1", "$(x)")]

    assert InventoryKinds.of(["found"]).replicated(odd) == frozenset()


@pytest.mark.parametrize("text", ["Secret", "/v1/Secret", "a/b/c/d", "", "V1/Secret", "v1/", "all", "v1/*"])
def test_an_inventory_kind_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="GROUP/VERSION/KIND"):
        InventoryKinds.of([text])


def test_gator_sees_of_what_it_is_given_only_what_the_cluster_replicates() -> None:
    rego = 'package a\nimport data.inventory as held\nx { held.cluster["v1"].Node; data["inventory"].cluster.v1.Pod }'
    template: Any = {"spec": {"targets": [{"rego": rego, "libs": ["data.inventory.cluster.v1[kind]"]}]}}

    seen: Any = seeing_only(template, frozenset({DataKind("", "v1", "Pod")}))

    assert seen["spec"]["targets"] == [
        {
            "rego": rego.replace("{ held.cluster", "{ held.unreplicated.cluster"),
            "libs": ["data.inventory.cluster.v1[kind]"],
        }
    ]
    assert template["spec"]["targets"][0]["rego"] == rego


def test_rego_of_the_newer_form_is_read_too_and_what_is_no_template_is_left_alone() -> None:
    rego = "package a\nx { data.inventory.cluster.v1.Node }"
    code: Any = [{"engine": "K8sNativeValidation"}, {"engine": "Rego", "source": {"rego": rego, "version": "v1"}}, "x"]

    assert references({"spec": {"targets": [{"code": code}]}}) == {Reference("v1", "Node")}
    odds: Any = ({}, {"spec": []}, {"spec": {"targets": {}}}, {"spec": {"targets": ["x", {"rego": 1, "libs": [1]}]}})
    for odd in odds:
        assert references(odd) == frozenset()
        assert seeing_only(odd, frozenset()) == odd


# --- the plan --------------------------------------------------------------------------------------------------------


def looking(kind: str = "K8sThing", *needs: DataKind, by: Member | None = None) -> DesiredObject:
    """A template of this project that looks other objects up."""
    made = template(kind, members=(by,) if by else ())
    manifest: Any = copy.deepcopy(made.manifest)
    if needs:
        manifest["metadata"]["annotations"][ANNOTATION] = asks(*([clause(need)] for need in needs))
    return DesiredObject.of(made.role, manifest, made.members)


def change_of_syncset(state: DesiredState, *found: LiveObject) -> Change | None:
    plan = make_plan(state, inventory(*found), MARKS, limit=PruneLimit())
    return next((change for change in plan.changes if ref_of(change) == SYNCSET_REF), None)


def test_the_syncset_is_made_and_kept() -> None:
    wanted = syncset({SERVICES}, MARKS)
    state = desired_state(looking("K8sThing", SERVICES), wanted, constraint())

    assert isinstance(change_of_syncset(state), Create)
    assert isinstance(change_of_syncset(state, live(wanted)), Keep)


def test_a_syncset_of_somebody_else_is_a_conflict_and_never_pruned() -> None:
    wanted = syncset({SERVICES}, MARKS)

    assert isinstance(change_of_syncset(desired_state(wanted), foreign(wanted)), Conflict)
    assert change_of_syncset(desired_state(listed=["a"]), foreign(wanted)) is None


def test_the_syncset_goes_when_no_policy_needs_data_any_more() -> None:
    found = live(syncset({SERVICES}, MARKS))

    change = change_of_syncset(desired_state(listed=["a"]), live(looking("K8sThing", SERVICES)), found)

    assert isinstance(change, Delete)
    going = live(syncset({SERVICES}, MARKS), deleting=True)
    assert change_of_syncset(desired_state(listed=["a"]), going) is None


def test_a_syncset_of_another_name_is_left_alone() -> None:
    other = live(syncset({SERVICES}, MARKS), name="somebodys")

    plan = make_plan(desired_state(listed=["a"]), inventory(other), MARKS)

    assert plan.changes == ()


def test_the_syncset_stays_while_a_template_stays_whose_policy_is_not_known() -> None:
    found = [live(syncset({SERVICES}, MARKS)), live(looking("K8sThing", SERVICES)), live(constraint())]

    assert isinstance(change_of_syncset(desired_state(outcomes=[unresolved()], listed=["a"]), *found), Retain)


def test_the_syncset_stays_while_somebody_elses_constraint_uses_the_template() -> None:
    found = [live(syncset({SERVICES}, MARKS)), live(looking("K8sThing", SERVICES)), foreign(constraint())]

    assert isinstance(change_of_syncset(desired_state(listed=["a"]), *found), Retain)


def test_the_syncset_stays_while_the_deletion_of_its_template_is_refused() -> None:
    found = [live(syncset({SERVICES}, MARKS)), live(looking("K8sThing", SERVICES)), live(constraint())]

    assert isinstance(change_of_syncset(desired_state(listed=[]), *found), Retain)


def test_what_a_staying_template_needs_is_added_to_what_the_policies_need() -> None:
    known = member("known")
    wanted = syncset({SERVICES}, MARKS)
    state = desired_state(
        looking("K8sKnown", SERVICES, by=known), wanted, constraint("K8sKnown", by=known), outcomes=[unresolved()]
    )
    staying = [live(looking("K8sThing", INGRESSES)), live(constraint())]

    change = change_of_syncset(state, *staying)
    assert isinstance(change, Create)
    assert kinds_of(change.desired.manifest) == {SERVICES, INGRESSES}
    assert isinstance(change_of_syncset(state, *staying, live(syncset({SERVICES, INGRESSES}, MARKS))), Keep)


def test_an_annotation_that_somebody_broke_in_the_cluster_counts_for_nothing() -> None:
    broken = live(looking("K8sThing"), annotations={ANNOTATION: "[["})
    found = [live(syncset({SERVICES}, MARKS)), broken, live(constraint())]

    assert isinstance(change_of_syncset(desired_state(outcomes=[unresolved()], listed=["a"]), *found), Delete)
