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
from controller.gatekeeper.documents import DocumentError, DocumentKind, Origin, TemplateDocument, read_document
from controller.gatekeeper.model import DesiredObject, Rendered
from controller.gatekeeper.sources import Unavailable, Wanted
from controller.gatekeeper.syncset import (
    ANNOTATION,
    MAX_KINDS,
    SYNCSET_REF,
    DataKind,
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
