"""Effective policies to objects: one test per rule, and the ways in which members may get into each other's way."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from controller.azure.model import EnforcementMode
from controller.gatekeeper.documents import DocumentKind, Origin, read_document
from controller.gatekeeper.expansion import Expansion
from controller.gatekeeper.model import DesiredObject, Rendered, Role
from controller.gatekeeper.naming import OwnershipMarks, RunningTemplate, constraint_name
from controller.gatekeeper.sources import Folder, TemplateSources, Unavailable, Wanted, bundle_root, wanted_documents
from controller.gatekeeper.translate import translate
from controller.policy.model import (
    Base64Content,
    Effect,
    EffectivePolicy,
    Match,
    Member,
    MutationPolicy,
    NotApplied,
    NotAppliedReason,
    PublicUrl,
    TemplatePolicy,
    Unresolved,
    UnresolvedReason,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from controller.gatekeeper.documents import Document
    from controller.gatekeeper.model import DesiredState, Outcome
    from controller.jsontypes import Json
    from controller.policy.model import DocumentSource, Resolution

CLUSTER = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c"
URL = PublicUrl("https://store.policy.core.windows.net/kubernetes/thing/v1/template.yaml")
OTHER_URL = PublicUrl("https://store.policy.core.windows.net/kubernetes/thing/v2/template.yaml")
FILE_URL = PublicUrl("https://store.policy.core.windows.net/kubernetes/thing/v1/constraint.yaml")
MUTATION_URL = PublicUrl("https://store.policy.core.windows.net/kubernetes/mutate-thing/v1/mutation.yaml")
PODS = Match(api_groups=("",), kinds=("Pod",))


def template_text(kind: str = "K8sThing", rego: str = "package thing", *, annotations: str = "{}") -> str:
    return (
        f"apiVersion: templates.gatekeeper.sh/v1beta1\nkind: ConstraintTemplate\n"
        f"metadata: {{name: {kind.lower()}, annotations: {annotations}, finalizers: [f]}}\n"
        f"spec: {{crd: {{spec: {{names: {{kind: {kind}}}}}}}, targets: [{{target: t, rego: {rego}}}]}}\nstatus: {{}}\n"
    )


def file_text(*, kind: str = "K8sThing", group: str = "constraints.gatekeeper.sh", parameters: str = "{}") -> str:
    return (
        f"apiVersion: {group}/v1alpha1\nkind: {kind}\nmetadata: {{name: any, labels: {{team: a, managed-by: x}}}}\n"
        f"spec:\n  enforcementAction: deny\n  match: {{kinds: [{{apiGroups: [apps], kinds: [Deployment]}}]}}\n"
        f"  parameters: {parameters}\n"
    )


MUTATION_TEXT = (
    "apiVersion: mutations.gatekeeper.sh/v1\nkind: Assign\nmetadata: {name: mutate-thing}\n"
    "spec: {location: spec.x, match: {scope: Namespaced, excludedNamespaces: [own]},"
    " parameters: {assign: {value: 1}}}\n"
)


def make_policy(
    *,
    assignment: str = "/a",
    reference: str = "",
    definition: str = "/d",
    effect: Effect = Effect.DENY,
    mode: EnforcementMode = EnforcementMode.DEFAULT,
    warn: bool = False,
    match: Match = PODS,
    policy: TemplatePolicy | MutationPolicy | None = None,
    notes: tuple[str, ...] = (),
) -> EffectivePolicy:
    member = Member(assignment, definition, "/i" if reference else "", reference)
    return EffectivePolicy(member, effect, mode, warn, match, policy or TemplatePolicy(URL), notes, "parameter")


def make_mutation(**changes: Any) -> EffectivePolicy:
    defaults: dict[str, Any] = {"effect": Effect.MUTATE, "match": Match(), "policy": MutationPolicy(MUTATION_URL)}
    return make_policy(**(defaults | changes))


def documents(
    templates: Mapping[DocumentSource, str] | None = None,
    *,
    files: Mapping[DocumentSource, str] | None = None,
    mutations: Mapping[DocumentSource, str] | None = None,
    missing: Sequence[Wanted] = (),
) -> dict[Wanted, Document | Unavailable]:
    given = (
        (DocumentKind.TEMPLATE, templates or {URL: template_text()}),
        (DocumentKind.CONSTRAINT, files or {}),
        (DocumentKind.MUTATION, mutations or {MUTATION_URL: MUTATION_TEXT}),
    )
    answers: dict[Wanted, Document | Unavailable] = {
        Wanted(source, kind): read_document(kind, text.encode(), Origin.URL)
        for kind, texts in given
        for source, text in texts.items()
    }
    return answers | {wanted: Unavailable("not to be had") for wanted in missing}


def desired(
    *resolutions: Resolution, served: Mapping[Wanted, Document | Unavailable] | None = None, **more: Any
) -> DesiredState:
    return translate(resolutions, served or documents(), cluster_id=CLUSTER, **more)


def constraint(state: DesiredState) -> dict[str, Any]:
    return manifest_of(state, Role.CONSTRAINT)


def manifest_of(state: DesiredState, role: Role) -> dict[str, Any]:
    (found,) = (o.manifest for o in state.objects if o.role is role)
    return dict(found)


def reason_of(outcome: Outcome) -> UnresolvedReason:
    assert isinstance(outcome, Unresolved)
    return outcome.reason


def test_a_constraint_carries_action_match_values_and_marks() -> None:
    policy = make_policy(reference="Ref", policy=TemplatePolicy(URL, {"list": ["a"], "none": None}))

    state = desired(policy)

    assert constraint(state) == {
        "apiVersion": "constraints.gatekeeper.sh/v1beta1",
        "kind": "K8sThing",
        "metadata": {
            "name": constraint_name("k8sthing", "/a", "Ref", "/d"),
            "labels": {"managed-by": "azure-policy-sync"},
            "annotations": OwnershipMarks().member_annotations(policy.member),
        },
        "spec": {
            "enforcementAction": "deny",
            "match": {
                "kinds": [{"apiGroups": [""], "kinds": ["Pod"]}],
                "excludedNamespaces": ["kube-system", "gatekeeper-system", "azure-arc"],
                "source": "Original",
            },
            "parameters": {"list": ["a"]},
        },
    }


def test_a_template_is_as_served_but_for_its_metadata() -> None:
    served = documents({URL: template_text(annotations="{metadata.gatekeeper.sh/title: T, constraint-template: x}")})
    document = served[Wanted(URL, DocumentKind.TEMPLATE)]
    assert not isinstance(document, Unavailable)

    template = manifest_of(desired(make_policy(), served=served), Role.TEMPLATE)

    assert template == {
        "apiVersion": "templates.gatekeeper.sh/v1beta1",
        "kind": "ConstraintTemplate",
        "metadata": {
            "name": "k8sthing",
            "labels": {"managed-by": "azure-policy-sync"},
            "annotations": {
                "metadata.gatekeeper.sh/title": "T",
                "azure-policy-definition-id-1": "/d",
                "constraint-template": URL.url,
                "constraint-template-installed-by": "azure-policy-sync",
                "azpolicy.dev/template-source": "url",
                "azpolicy.dev/template-digest": document.digest,
            },
        },
        "spec": {
            "crd": {"spec": {"names": {"kind": "K8sThing"}}},
            "targets": [{"target": "t", "rego": "package thing"}],
        },
    }


def test_the_outcome_tells_what_became_of_the_member() -> None:
    policy = make_policy(effect=Effect.AUDIT, warn=True, notes=("noted",))

    state = desired(policy)

    (outcome,) = state.outcomes
    assert isinstance(outcome, Rendered)
    assert (outcome.effect, outcome.enforcement_action, outcome.effect_from) == ("audit", "warn", "parameter")
    assert outcome.objects == tuple(o.ref for o in state.objects)
    assert (outcome.template_source, len(outcome.template_digest), outcome.notes) == ("url", 64, ("noted",))


@pytest.mark.parametrize("policy", [TemplatePolicy(URL), MutationPolicy(MUTATION_URL)], ids=["constraint", "mutator"])
def test_a_match_that_can_match_nothing_is_noted_with_what_is_always_excluded(
    policy: TemplatePolicy | MutationPolicy,
) -> None:
    effect = Effect.DENY if isinstance(policy, TemplatePolicy) else Effect.MUTATE
    nothing = replace(PODS, namespaces=("kube-system", "azpolicy"), scope="Namespaced")

    state = desired(make_policy(match=nothing, policy=policy, effect=effect), excluded_namespaces=("azpolicy",))

    (outcome,) = state.outcomes
    assert isinstance(outcome, Rendered)
    assert [note.partition("(")[0] for note in outcome.notes] == ["it can match nothing: of its namespaces "]


def test_the_managed_by_setting_marks_every_object_and_the_operator_s_namespace_is_excluded() -> None:
    state = desired(make_policy(), make_mutation(), marks=OwnershipMarks("team"), excluded_namespaces=("azpolicy",))

    manifests: list[Any] = [o.manifest for o in state.objects]
    assert {m["metadata"]["labels"]["managed-by"] for m in manifests} == {"team"}
    assert all("azpolicy" in m["spec"]["match"]["excludedNamespaces"] for m in manifests if "match" in m["spec"])


def test_objects_stand_in_the_order_of_their_creation_then_by_kind_and_name() -> None:
    served = documents({URL: template_text("K8sB"), OTHER_URL: template_text("K8sA")})
    policies = [
        make_mutation(assignment="/m"),
        make_policy(assignment="/2"),
        make_policy(assignment="/1"),
        make_policy(policy=TemplatePolicy(OTHER_URL)),
    ]

    order = [(o.role, o.ref.kind, o.ref.name) for o in desired(*policies, served=served).objects]

    assert [(role, kind) for role, kind, _ in order] == [
        (Role.TEMPLATE, "ConstraintTemplate"),
        (Role.TEMPLATE, "ConstraintTemplate"),
        (Role.MUTATOR, "Assign"),
        (Role.CONSTRAINT, "K8sA"),
        (Role.CONSTRAINT, "K8sB"),
        (Role.CONSTRAINT, "K8sB"),
    ]
    assert order[-2:] == sorted(order[-2:])
    turned_round = desired(*reversed(policies), served=served)
    assert [o.digest for o in turned_round.objects] == [o.digest for o in desired(*policies, served=served).objects]


def test_what_was_listed_and_is_gone_and_what_does_not_apply_goes_through() -> None:
    resolutions = (
        NotApplied(Member("/x", "/d"), NotAppliedReason.DISABLED, "disabled"),
        Unresolved(Member("/y", "/d"), UnresolvedReason.EXPRESSION, "why"),
    )

    state = desired(*resolutions, listed=frozenset({"/x"}), gone=frozenset({"/z"}))

    assert (state.cluster_id, state.objects, state.outcomes) == (CLUSTER, (), resolutions)
    assert (state.listed, state.gone) == (frozenset({"/x"}), frozenset({"/z"}))


def test_one_template_used_by_many_is_one_object_with_all_their_definitions() -> None:
    state = desired(
        make_policy(assignment="/1", definition="/D"),
        make_policy(assignment="/2", definition="/e"),
        make_policy(assignment="/3", definition="/d"),
    )

    (template,) = (o for o in state.objects if o.role is Role.TEMPLATE)
    manifest: Any = template.manifest
    annotations = manifest["metadata"]["annotations"]
    assert {k: v for k, v in annotations.items() if k.startswith("azure-policy-")} == {
        "azure-policy-definition-id-1": "/D",
        "azure-policy-definition-id-2": "/e",
    }
    assert [m.assignment_id for m in template.members] == ["/1", "/2", "/3"]
    assert len(state.objects) == 4


def test_a_template_that_no_rendered_member_needs_is_not_installed() -> None:
    assert desired(make_policy(match=Match())).objects == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"match": Match(("*",), ("Pod",))}, UnresolvedReason.DETAILS),
        ({"match": Match(("",), ("*",))}, UnresolvedReason.DETAILS),
        ({"match": Match((), ("Pod",))}, UnresolvedReason.DETAILS),
        ({"match": Match(("",), ())}, UnresolvedReason.DETAILS),
        ({"effect": Effect.MUTATE}, UnresolvedReason.EFFECT),
        ({"policy": MutationPolicy(MUTATION_URL)}, UnresolvedReason.EFFECT),
    ],
)
def test_what_cannot_be_translated_is_unresolved_and_hurts_nobody_else(
    change: dict[str, Any], reason: UnresolvedReason
) -> None:
    state = desired(make_policy(assignment="/bad", **change), make_policy(assignment="/good"))

    assert reason_of(state.outcomes[0]) is reason
    assert isinstance(state.outcomes[1], Rendered)


def test_a_template_that_is_not_to_be_had_leaves_its_members_unresolved_with_the_reason() -> None:
    state = desired(make_policy(), served=documents(missing=[Wanted(URL, DocumentKind.TEMPLATE)]))

    message = "assignment /a: not to be had"
    assert state.outcomes == (Unresolved(Member("/a", "/d"), UnresolvedReason.TEMPLATE, message),)
    assert state.objects == ()


def test_two_members_whose_objects_would_bear_one_name_are_both_unresolved() -> None:
    state = desired(make_policy(reference="Ref"), make_policy(reference="REF"), make_policy(reference="other"))

    assert [reason_of(o) for o in state.outcomes[:2]] == [UnresolvedReason.COLLISION] * 2
    assert isinstance(state.outcomes[2], Rendered)
    assert len(state.objects) == 2


class TestTwoSourcesForOneTemplate:
    """The newcomer is not installed, the one that runs keeps running, both say so."""

    served = documents({URL: template_text(), OTHER_URL: template_text(rego="package other")})
    policies = (make_policy(assignment="/1"), make_policy(assignment="/2", policy=TemplatePolicy(OTHER_URL)))

    def digest(self, source: DocumentSource) -> str:
        document = self.served[Wanted(source, DocumentKind.TEMPLATE)]
        assert not isinstance(document, Unavailable)
        return document.digest

    def winner(
        self, running: RunningTemplate | None, served: Mapping[Wanted, Document | Unavailable] | None = None
    ) -> str:
        state = desired(
            *self.policies, served=served or self.served, running={"k8sthing": running} if running else None
        )
        rendered = [o for o in state.outcomes if isinstance(o, Rendered)]
        refused = [o for o in state.outcomes if isinstance(o, Unresolved)]
        assert {reason_of(o) for o in refused} == {UnresolvedReason.TEMPLATE_CONFLICT}
        assert len(rendered) + len(refused) == 2
        assert not rendered or "not installed" in rendered[0].notes[0]
        return rendered[0].member.assignment_id if rendered else ""

    def test_without_a_word_from_the_cluster_the_first_url_wins(self) -> None:
        assert self.winner(None) == "/1"

    def test_the_url_that_runs_wins(self) -> None:
        assert self.winner(RunningTemplate(OTHER_URL.url, "older")) == "/2"

    def test_the_text_that_runs_wins_where_its_url_is_not_known(self) -> None:
        assert self.winner(RunningTemplate("", self.digest(OTHER_URL))) == "/2"

    def test_a_running_template_from_elsewhere_gives_way_to_the_first_url(self) -> None:
        assert self.winner(RunningTemplate("https://gone", "gone")) == "/1"

    def test_nobody_takes_over_while_the_one_that_runs_cannot_be_read(self) -> None:
        served = documents({URL: template_text()}, missing=[Wanted(OTHER_URL, DocumentKind.TEMPLATE)])

        state = desired(*self.policies, served=served, running={"k8sthing": RunningTemplate(OTHER_URL.url, "d")})

        assert [reason_of(o) for o in state.outcomes] == [UnresolvedReason.TEMPLATE_CONFLICT, UnresolvedReason.TEMPLATE]
        assert state.objects == ()

    def test_text_in_a_definition_that_cannot_be_read_holds_no_name(self) -> None:
        carried = Base64Content("?")
        served = documents({URL: template_text()}, missing=[Wanted(carried, DocumentKind.TEMPLATE)])
        policies = (self.policies[0], make_policy(assignment="/2", policy=TemplatePolicy(carried)))

        state = desired(*policies, served=served, running={"k8sthing": RunningTemplate("", "d")})

        assert isinstance(state.outcomes[0], Rendered)
        assert reason_of(state.outcomes[1]) is UnresolvedReason.TEMPLATE

    def test_the_same_text_from_two_addresses_is_a_conflict_too(self) -> None:
        served = documents({URL: template_text(), OTHER_URL: template_text()})

        assert self.winner(RunningTemplate(OTHER_URL.url, "x"), served) == "/2"

    def test_definitions_that_carry_the_same_text_do_not_conflict(self) -> None:
        encoded = base64.b64encode(template_text().encode()).decode()
        first, second = Base64Content(encoded), Base64Content(encoded[:8] + "\n" + encoded[8:])
        served = documents({first: template_text(), second: template_text()})

        state = desired(
            make_policy(assignment="/1", policy=TemplatePolicy(first)),
            make_policy(assignment="/2", policy=TemplatePolicy(second)),
            served=served,
        )

        assert all(isinstance(o, Rendered) and not o.notes for o in state.outcomes)
        template: Any = state.objects[0].manifest
        assert "constraint-template" not in template["metadata"]["annotations"]


class TestMutations:
    """Mutators are named and marked as constraints are; their match is the policy's over the file's."""

    def test_a_mutator_is_as_served_with_our_name_marks_and_match(self) -> None:
        policy = make_mutation(match=Match(namespaces=("a",), source="Original"))

        assert manifest_of(desired(policy), Role.MUTATOR) == {
            "apiVersion": "mutations.gatekeeper.sh/v1",
            "kind": "Assign",
            "metadata": {
                "name": constraint_name("mutate-thing", "/a", "", "/d"),
                "labels": {"managed-by": "azure-policy-sync"},
                "annotations": OwnershipMarks().member_annotations(policy.member),
            },
            "spec": {
                "location": "spec.x",
                "match": {
                    "scope": "Namespaced",
                    "namespaces": ["a"],
                    "excludedNamespaces": ["own", "kube-system", "gatekeeper-system", "azure-arc"],
                    "source": "Original",
                },
                "parameters": {"assign": {"value": 1}},
            },
        }

    def test_two_assignments_make_two_mutators(self) -> None:
        assert len(desired(make_mutation(assignment="/1"), make_mutation(assignment="/2")).objects) == 2

    def test_a_mutation_that_is_not_enforced_is_left_out_and_says_so(self) -> None:
        state = desired(make_mutation(mode=EnforcementMode.DO_NOT_ENFORCE))

        (outcome,) = state.outcomes
        assert isinstance(outcome, NotApplied)
        assert outcome.reason is NotAppliedReason.NOT_ENFORCED
        assert state.objects == ()

    def test_a_mutation_that_is_not_to_be_had_is_unresolved(self) -> None:
        state = desired(make_mutation(), served=documents(missing=[Wanted(MUTATION_URL, DocumentKind.MUTATION)]))

        assert reason_of(state.outcomes[0]) is UnresolvedReason.TEMPLATE


class TestConstraintFiles:
    """constraintInfo, and `constraint` of the old form: the file is the body, the policy decides what is enforced."""

    def test_a_constraint_file_is_the_body_and_name_action_and_marks_are_ours(self) -> None:
        served = documents(files={FILE_URL: file_text(parameters="{a: 1, b: null}")})
        policy = make_policy(effect=Effect.AUDIT, match=Match(), policy=TemplatePolicy(URL, {}, FILE_URL))

        manifest = constraint(desired(policy, served=served))

        assert manifest == {
            "apiVersion": "constraints.gatekeeper.sh/v1beta1",
            "kind": "K8sThing",
            "metadata": {
                "name": constraint_name("k8sthing", "/a", "", "/d"),
                "labels": {"team": "a", "managed-by": "azure-policy-sync"},
                "annotations": OwnershipMarks().member_annotations(policy.member, FILE_URL.url),
            },
            "spec": {
                "enforcementAction": "dryrun",
                "match": {
                    "kinds": [{"apiGroups": ["apps"], "kinds": ["Deployment"]}],
                    "excludedNamespaces": ["kube-system", "gatekeeper-system", "azure-arc"],
                },
                "parameters": {"a": 1},
            },
        }

    def test_an_old_form_file_is_filled_with_values_and_what_the_policy_matches(self) -> None:
        text = file_text(
            parameters="{images: {{ .Values.images }}, regex: '{{ .Values.regex }}',"
            " skip: {{ .Values.excludedNamespaces }}}"
        )
        values: dict[str, Json] = {"images": ["a", "b"], "regex": "^a$"}
        policy = make_policy(
            match=Match(excluded_namespaces=("x",)), policy=TemplatePolicy(URL, values, FILE_URL, legacy=True)
        )

        spec = constraint(desired(policy, served=documents(files={FILE_URL: text})))["spec"]

        assert spec["parameters"] == {"images": ["a", "b"], "regex": "^a$", "skip": ["x"]}
        assert spec["match"]["excludedNamespaces"] == ["x", "kube-system", "gatekeeper-system", "azure-arc"]

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            (file_text(kind="K8sOther"), "is of kind 'K8sOther'"),
            (file_text(group="example.com"), "not a constraint"),
            (file_text(parameters="{{ .Values.absent }}"), "{{ .Values.absent }}"),
            (file_text(parameters="[1]"), "spec.parameters is not a mapping"),
            (file_text(parameters="{{ .Values.breaks }}"), "line"),
        ],
    )
    def test_a_file_that_does_not_fit_leaves_its_member_unresolved(self, text: str, complaint: str) -> None:
        policy = make_policy(match=Match(), policy=TemplatePolicy(URL, {"breaks": "'\n}"}, FILE_URL, legacy=True))

        (outcome,) = desired(policy, served=documents(files={FILE_URL: text})).outcomes

        assert reason_of(outcome) is UnresolvedReason.TEMPLATE_MALFORMED
        assert isinstance(outcome, Unresolved)
        assert complaint in outcome.message

    @pytest.mark.parametrize("missing", [Wanted(URL, DocumentKind.TEMPLATE), Wanted(FILE_URL, DocumentKind.CONSTRAINT)])
    @pytest.mark.parametrize(
        ("legacy", "reason"), [(True, UnresolvedReason.LEGACY_FORM), (False, UnresolvedReason.TEMPLATE)]
    )
    def test_a_missing_file_of_the_old_form_is_told_apart(
        self, missing: Wanted, legacy: bool, reason: UnresolvedReason
    ) -> None:
        served = documents(files={FILE_URL: file_text()}, missing=[missing])
        policy = make_policy(match=Match(), policy=TemplatePolicy(URL, {}, FILE_URL, legacy=legacy))

        assert reason_of(desired(policy, served=served).outcomes[0]) is reason

    def test_a_file_that_says_so_takes_the_values_that_the_template_declares(self) -> None:
        file = file_text().replace("{name: any,", "{name: any, annotations: {azpolicy.dev/parameters: values},")
        schema = "{openAPIV3Schema: {type: object, properties: {images: {type: array, items: {type: string}}}}}"
        template = template_text().replace("K8sThing}}", f"K8sThing}}, validation: {schema}}}")
        values: dict[str, Json] = {"images": ["a"], "excludedNamespaces": []}
        policy = make_policy(match=Match(), policy=TemplatePolicy(URL, values, FILE_URL, legacy=True))

        made = constraint(desired(policy, served=documents({URL: template}, files={FILE_URL: file})))

        assert made["spec"]["parameters"] == {"images": ["a"]}
        assert "azpolicy.dev/parameters" not in made["metadata"]["annotations"]

    def test_an_old_form_whose_template_is_elsewhere_is_unavailable_and_names_its_url(self) -> None:
        url = PublicUrl("https://raw.githubusercontent.com/contoso/policies/main/template.yaml")
        policy = make_policy(match=Match(), policy=TemplatePolicy(url, {}, FILE_URL, legacy=True))
        wanted = Wanted(url, DocumentKind.TEMPLATE)
        served = {**documents(files={FILE_URL: file_text()}), wanted: Unavailable(f"{url.url}: not there")}

        (outcome,) = desired(policy, served=served).outcomes

        assert isinstance(outcome, Unresolved)
        assert outcome.reason is UnresolvedReason.TEMPLATE
        assert f"{url.url}: not there" in outcome.message


def test_everything_that_policies_need_is_asked_for_once() -> None:
    policies: list[Resolution] = [
        make_policy(policy=TemplatePolicy(URL, {}, FILE_URL)),
        make_policy(policy=TemplatePolicy(URL)),
        make_mutation(),
        NotApplied(Member("/x", "/d"), NotAppliedReason.DISABLED, ""),
    ]

    assert wanted_documents(policies) == {
        Wanted(URL, DocumentKind.TEMPLATE),
        Wanted(FILE_URL, DocumentKind.CONSTRAINT),
        Wanted(MUTATION_URL, DocumentKind.MUTATION),
    }


def test_constraints_share_what_their_policies_share() -> None:
    values: dict[str, Json] = {"list": ["a"]}
    policies = [make_policy(assignment=f"/{n}", policy=TemplatePolicy(URL, values)) for n in range(2)]

    first, second = (o.manifest["spec"] for o in desired(*policies).objects if o.role is Role.CONSTRAINT)

    assert first["parameters"] is second["parameters"] is values  # type: ignore[index,call-overload]
    assert first["match"] is second["match"]  # type: ignore[index,call-overload]


def test_constraints_share_what_their_policies_and_their_file_share() -> None:
    match, by = Match(), TemplatePolicy(URL, {"list": ["a", None]}, FILE_URL)
    policies = [make_policy(assignment=f"/{n}", match=match, policy=by) for n in range(2)]
    served = documents(files={FILE_URL: file_text()})

    made = desired(*policies, served=served).objects
    first, second = (o.manifest["spec"] for o in made if o.role is Role.CONSTRAINT)

    assert first["parameters"] is second["parameters"]  # type: ignore[index,call-overload]
    assert first["match"] is second["match"]  # type: ignore[index,call-overload]


def test_each_member_of_each_assignment_becomes_a_constraint_and_all_share_a_template() -> None:
    members = 27
    policies = [
        replace(
            make_policy(assignment=f"/{n // members}", reference=str(n % members)),
            match=replace(PODS, namespaces=(str(n % members),)),
        )
        for n in range(200 * members)
    ]

    state = desired(*policies, served=documents())

    assert len(state.objects) == len(policies) + 1


def test_every_bundled_template_is_a_document_that_its_store_address_finds() -> None:
    files = sorted(bundle_root().glob("*/v*/*.yaml"))
    kinds = {f"{kind}.yaml": kind for kind in DocumentKind}
    wanted = [
        Wanted(
            PublicUrl(f"https://store.policy.core.windows.net/kubernetes/{f.relative_to(bundle_root())}"), kinds[f.name]
        )
        for f in files
        if f.name in kinds
    ]

    answers = asyncio.run(TemplateSources([Folder(bundle_root(), Origin.BUNDLE)]).fetch(wanted))

    assert len(answers) >= 17
    assert {w: a for w, a in answers.items() if isinstance(a, Unavailable)} == {}


def test_a_manifest_s_digest_is_that_of_its_content() -> None:
    one, other = desired(make_policy()), desired(make_policy(warn=True))
    (first,) = (o for o in one.objects if o.role is Role.CONSTRAINT)
    (second,) = (o for o in other.objects if o.role is Role.CONSTRAINT)

    assert first.digest == second.digest == DesiredObject.of(first.role, first.manifest, ()).digest


# --- what the API server would say -----------------------------------------------------------------------------------


def strict_template(**properties: Any) -> str:
    schema = {"type": "object", "properties": properties}
    spec = {"names": {"kind": "K8sThing"}, "validation": {"openAPIV3Schema": schema}}
    return json.dumps(
        {
            "apiVersion": "templates.gatekeeper.sh/v1",
            "kind": "ConstraintTemplate",
            "metadata": {"name": "k8sthing"},
            "spec": {"crd": {"spec": spec}, "targets": [{"target": "t", "rego": "package thing"}]},
        }
    )


def test_a_value_that_does_not_fit_the_templates_schema_is_unresolved_with_its_place_and_parameter() -> None:
    served = documents({URL: strict_template(most={"type": "integer"})})
    policy = replace(make_policy(policy=TemplatePolicy(URL, {"most": "many"})), origins={"values.most": "limit"})

    state = desired(policy, make_policy(assignment="/b", policy=TemplatePolicy(URL, {"most": 2})), served=served)

    first, second = state.outcomes
    assert reason_of(first) is UnresolvedReason.PARAMETER
    assert isinstance(first, Unresolved)
    assert first.message == (
        "assignment /a: policyRule.then.details.values.most must be a whole number, is String 'many' (parameter limit),"
        " by the schema of template k8sthing"
    )
    assert isinstance(second, Rendered)


def test_a_value_that_the_templates_schema_does_not_have_is_noted_and_still_sent() -> None:
    served = documents({URL: strict_template(most={"type": "integer"})})

    state = desired(make_policy(policy=TemplatePolicy(URL, {"most": 1, "least": 0})), served=served)

    (outcome,) = state.outcomes
    assert isinstance(outcome, Rendered)
    assert outcome.notes == (
        "policyRule.then.details.values.least is dropped: template k8sthing has no such parameter",
    )
    # The plan tells of it too, and compares with what the server really keeps.
    assert constraint(state)["spec"]["parameters"] == {"most": 1, "least": 0}


def test_of_many_values_that_are_dropped_a_few_are_named() -> None:
    served = documents({URL: strict_template(most={"type": "integer"})})
    values: dict[str, Json] = {f"unknown{number}": number for number in range(1000)}

    (outcome,) = desired(make_policy(policy=TemplatePolicy(URL, values)), served=served).outcomes

    assert isinstance(outcome, Rendered)
    assert len(outcome.notes) == 6
    assert outcome.notes[-1] == "policyRule.then.details.values: 995 more keys are dropped"


def test_a_namespace_that_is_no_name_is_unresolved_with_its_place_and_parameter() -> None:
    match = Match(api_groups=("",), kinds=("Pod",), excluded_namespaces=("fine", '{"paths":[]}'))
    policy = replace(make_policy(match=match), origins={"excludedNamespaces": "excluded"})

    (outcome,) = desired(policy).outcomes

    assert reason_of(outcome) is UnresolvedReason.DETAILS
    assert isinstance(outcome, Unresolved)
    assert outcome.message.startswith("assignment /a: policyRule.then.details.excludedNamespaces[1] must match")
    assert outcome.message.endswith("(parameter excluded)")


@pytest.mark.parametrize(
    ("match", "told"),
    [
        ("{scope: 1}", "the mutation's spec.match.scope must be text"),
        ("{name: Not_A_Name}", "the mutation's spec.match.name must match the pattern"),
        ("{namespaceSelector: {matchExpressions: [{key: a}]}}", "matchExpressions[0].operator is missing"),
        (
            "{namespaceSelector: {matchExpressions: [{key: a, operator: Gt}]}}",
            "the mutation's spec.match.namespaceSelector.matchExpressions[0].operator must be one of",
        ),
        ("{source: Elsewhere}", "the mutation's spec.match.source must be one of All, Generated, Original"),
    ],
)
def test_a_match_of_a_file_that_gatekeeper_refuses_is_unresolved(match: str, told: str) -> None:
    text = MUTATION_TEXT.replace("{scope: Namespaced, excludedNamespaces: [own]}", match)

    (outcome,) = desired(make_mutation(), served=documents(mutations={MUTATION_URL: text})).outcomes

    assert reason_of(outcome) is UnresolvedReason.DETAILS
    assert isinstance(outcome, Unresolved)
    assert told in outcome.message


# --- what can look at nothing ----------------------------------------------------------------------------------------


def notes_of(match: Match, **more: Any) -> tuple[str, ...]:
    (outcome,) = desired(make_policy(match=match), **more).outcomes
    assert isinstance(outcome, Rendered)
    return outcome.notes


def test_a_policy_for_generated_objects_is_noted_where_nothing_is_expanded() -> None:
    (note,) = notes_of(replace(PODS, source="Generated"), expansion=Expansion.OFF)

    assert note.startswith("source is Generated, so it looks only at what Gatekeeper's expansion makes")
    assert notes_of(replace(PODS, source="Generated")) == ()
    assert notes_of(replace(PODS, source="Original")) == ()


def test_values_that_can_never_match_are_noted_for_templates_of_azures_store_alone() -> None:
    text = template_text("K8sAzureV2ContainerAllowedImages")
    carried = Base64Content(base64.b64encode(text.encode()).decode())
    values: dict[str, Json] = {"imageRegex": "(?!x)"}

    def noted(source: DocumentSource) -> tuple[str, ...]:
        policy = make_policy(policy=TemplatePolicy(source, values))
        (outcome,) = desired(policy, served=documents({source: text})).outcomes
        assert isinstance(outcome, Rendered)
        return outcome.notes

    (note,) = noted(URL)
    assert note.startswith("policyRule.then.details.values.imageRegex: '(?!x)' never matches: it has a look-ahead")
    assert noted(carried) == noted(PublicUrl("https://templates.example/thing/template.yaml")) == ()
