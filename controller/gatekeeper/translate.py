"""Effective policies to the objects that Gatekeeper enforces: the pure step that ends with the DesiredState.

Every resolution ends as exactly one outcome, and one that cannot be translated never hurts another. No object of
the result is copied: what members share, their manifests share.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeVar, assert_never

from controller.azure.model import EnforcementMode
from controller.gatekeeper.crd import match_schema, parameters_schema
from controller.gatekeeper.documents import (
    ConstraintDocument,
    DocumentError,
    DocumentKind,
    MutationDocument,
    TemplateDocument,
    as_mapping,
    clean_metadata,
    read_mapping,
)
from controller.gatekeeper.expansion import (
    EVERY,
    NEEDS_OWNERS,
    Expansion,
    expanded,
    expansion_templates,
    only_generated,
    reads_owners,
    widened,
    with_source,
)
from controller.gatekeeper.legacy import fill
from controller.gatekeeper.manifests import (
    SYSTEM_NAMESPACES,
    constraint_manifest,
    enforcement_action,
    match_block,
    mutator_manifest,
    template_manifest,
    without_nulls,
)
from controller.gatekeeper.match_notes import match_notes
from controller.gatekeeper.meanings import value_notes
from controller.gatekeeper.model import DesiredObject, DesiredState, Rendered, Role, in_order
from controller.gatekeeper.naming import CONSTRAINT_GROUP, OwnershipMarks, constraint_name
from controller.gatekeeper.sources import Unavailable, Wanted, store_path
from controller.gatekeeper.syncset import InventoryKinds, blind_spots, syncset
from controller.gatekeeper.templates import Chosen, Refusal, choose_templates
from controller.policy.assigned import not_applied, unresolved
from controller.policy.details import PLACE, label_selector
from controller.policy.model import (
    Effect,
    EffectivePolicy,
    MutationPolicy,
    NotApplied,
    NotAppliedReason,
    PublicUrl,
    TemplatePolicy,
    Unresolved,
    UnresolvedReason,
)
from controller.policy.problem import Problem
from controller.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from controller.gatekeeper.naming import RunningTemplate
    from controller.gatekeeper.schema import Schema
    from controller.gatekeeper.sources import Documents
    from controller.gatekeeper.syncset import DataKind
    from controller.jsontypes import Json
    from controller.policy.model import DocumentSource, Match, Resolution

_ANY: Final = "*"
_PARAMETERS: Final = "azpolicy.dev/parameters"
_FILE: Final = "the constraint file's spec"
_VALUES: Final = f"{PLACE}.values"
_MOST_DROPPED: Final = 5  # keys that are noted one by one
_NOTHING_EXPANDS: Final = (
    "source is Generated, so it looks only at what Gatekeeper's expansion makes, and nothing is expanded here: the"
    " setting expansion is off"
)
_WIDENED: Final = "source is All instead of Original, by the setting expansion: all"
_NOT_WIDENED: Final = (
    "source stays Original in spite of the setting expansion: all, as its template reads ownerReferences"
)
_DEFAULTED: Final = (
    "the policy names no source, so it is Original, Azure's default: pods that expansion makes of workloads are not"
    " judged"
)
_SELECTORS: Final = frozenset({"labelSelector", "namespaceSelector"})
_D = TypeVar("_D", ConstraintDocument, MutationDocument)


def translate(
    resolutions: Sequence[Resolution],
    documents: Documents,
    *,
    cluster_id: str,
    marks: OwnershipMarks | None = None,
    excluded_namespaces: tuple[str, ...] = (),
    listed: frozenset[str] = frozenset(),
    gone: frozenset[str] = frozenset(),
    running: Mapping[str, RunningTemplate] | None = None,
    inventory: InventoryKinds | None = None,
    expansion: Expansion = Expansion.ASSIGNED,
) -> DesiredState:
    """What the cluster should hold, and one outcome per resolution, in their order.

    `documents` answers for all of `wanted_documents(resolutions)`. `excluded_namespaces` are the operator's own,
    excluded besides the system's. `running` tells by template name which one the cluster has: it wins over a newcomer.
    `inventory` is what is replicated for templates that do not ask for it; None is nothing.
    `expansion` is when Gatekeeper is to make pods of workloads, and have policies look at them.
    """
    chosen = choose_templates(_template_sources(resolutions), documents, running or {})
    excluded = (*SYSTEM_NAMESPACES, *excluded_namespaces)
    translator = _Translator(documents, chosen, marks or OwnershipMarks(), excluded)
    drafts = _without_collisions([translator.draft(resolution) for resolution in resolutions])
    drafts = _with_sources(drafts, expansion)
    objects = [draft.object for draft in drafts if isinstance(draft, _Draft)]
    objects += expansion_templates(objects, translator.marks) if expansion is not Expansion.OFF else []
    objects += translator.templates(drafts)
    used = {id(draft.template): draft.template for draft in drafts if isinstance(draft, _Draft) and draft.template}
    data = _data(used.values(), inventory or InventoryKinds())
    blind = {key: blind_spots(template.document, data) for key, template in used.items()}
    objects += [syncset(data, translator.marks)] if data else []
    return DesiredState(
        cluster_id=cluster_id,
        objects=in_order(objects),
        outcomes=tuple(draft.outcome(blind) if isinstance(draft, _Draft) else draft for draft in drafts),
        listed=listed,
        gone=gone,
    )


@dataclass(frozen=True, slots=True)
class _Draft:
    """A member's object before it is known that nobody else claims its name."""

    policy: EffectivePolicy
    object: DesiredObject
    action: str
    document: TemplateDocument | MutationDocument
    template: Chosen | None = None
    notes: tuple[str, ...] = ()
    match_notes: tuple[str, ...] = ()

    def outcome(self, blind: Mapping[int, tuple[str, ...]]) -> Rendered:
        """What the user sees of the member; `blind` has by the template's id what that cannot see."""
        template = self.template
        notes = (*template.notes, *blind[id(template)]) if template else ()
        own = (self.object.ref,)
        return Rendered(
            member=self.policy.member,
            effect=self.policy.effect.value,
            enforcement_action=self.action,
            objects=(template.ref, *own) if template else own,
            template_source=self.document.origin.value,
            template_digest=self.document.digest,
            notes=(*self.policy.notes, *self.notes, *notes, *self.match_notes),
            effect_from=self.policy.effect_from,
        )

    def noted(self, note: str) -> _Draft:
        """The same with one more note."""
        return replace(self, notes=(*self.notes, note))


@dataclass(slots=True)
class _Translator:
    """What all members of one translation share, so that each costs little time and memory.

    Where a key has an id, what it stands for is kept here, by the documents, or by the resolutions.
    """

    documents: Documents
    chosen: Mapping[DocumentSource, Chosen | Refusal]
    marks: OwnershipMarks
    always_excluded: tuple[str, ...]
    labels: dict[str, Json] = field(init=False)
    _matches: dict[object, dict[str, Json]] = field(default_factory=dict)
    _match_notes: dict[tuple[int, str], tuple[str, ...]] = field(default_factory=dict)
    _parameters: dict[tuple[int, int], Json] = field(default_factory=dict)
    _schemas: dict[str, Schema] = field(default_factory=dict)
    _judged: dict[tuple[str, int, str], tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    _bodies: dict[str, dict[str, Json]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.labels = {**self.marks.labels()}

    def draft(self, resolution: Resolution) -> _Draft | NotApplied | Unresolved:
        """The member's object, or why there is none."""
        if not isinstance(resolution, EffectivePolicy):
            return resolution
        try:
            match resolution.policy:
                case TemplatePolicy():
                    return self._constraint(resolution, resolution.policy)
                case MutationPolicy():
                    return self._mutator(resolution, resolution.policy)
                case _:
                    assert_never(resolution.policy)
        except Problem as problem:
            return unresolved(resolution.member, problem)
        except DocumentError as error:
            return unresolved(resolution.member, Problem(UnresolvedReason.TEMPLATE_MALFORMED, str(error)))

    def templates(self, drafts: Iterable[_Draft | NotApplied | Unresolved]) -> list[DesiredObject]:
        """The templates that constraints need, each once, with every definition that brings it."""
        users: dict[str, list[_Draft]] = {}
        for draft in drafts:
            if isinstance(draft, _Draft) and draft.template:
                users.setdefault(draft.template.document.name, []).append(draft)
        return [self._template(using) for using in users.values()]

    def _template(self, using: list[_Draft]) -> DesiredObject:
        chosen = using[0].template
        assert chosen is not None
        document = chosen.document
        ids = {draft.policy.member.definition_id for draft in using}
        annotations = self.marks.template_annotations(
            ids, url=chosen.url, origin=document.origin.value, digest=document.digest
        )
        manifest = template_manifest(document, annotations, self.marks.labels())
        return DesiredObject.of(Role.TEMPLATE, manifest, tuple(draft.policy.member for draft in using))

    def _constraint(self, policy: EffectivePolicy, by: TemplatePolicy) -> _Draft:
        action = enforcement_action(policy.effect, policy.enforcement_mode, warn=policy.warn)
        if not action:
            raise Problem(UnresolvedReason.EFFECT, f"effect {policy.effect} cannot go with a constraint template")
        chosen = self.chosen[by.template]
        if isinstance(chosen, Refusal):
            raise Problem(_reason(chosen.reason, by.template, legacy=by.legacy), chosen.message)
        document, member = chosen.document, policy.member
        name = constraint_name(document.name, member.assignment_id, member.reference_id, member.definition_id)
        if by.constraint is None:
            metadata = self._metadata(name, self.marks.member_annotations(member))
            match, parameters = self._match(policy, PLACE), self._values(by, document)
            notes = self._judge(chosen, parameters, _VALUES, policy.origins)
        else:
            metadata, match, parameters = self._from_file(policy, by, by.constraint, document, name)
            notes = self._judge(chosen, parameters, f"{_FILE}.parameters")
        manifest = constraint_manifest(
            document.constraint_kind, metadata, action=action, match=match, parameters=parameters
        )
        made = DesiredObject.of(Role.CONSTRAINT, manifest, (member,))
        return _Draft(policy, made, action, document, chosen, notes, self._notes_on(match, action))

    def _metadata(self, name: str, annotations: dict[str, str]) -> dict[str, Json]:
        return {"name": name, "labels": self.labels, "annotations": annotations}  # type: ignore[dict-item]

    def _judge(
        self, chosen: Chosen, parameters: Json, place: str, origins: Mapping[str, str] | None = None
    ) -> tuple[str, ...]:
        """Notes on parameters, worked out once for those that share them; a Problem if the API server refuses them."""
        document = chosen.document
        key = (document.digest, id(parameters), place)
        if key not in self._judged:
            if document.digest not in self._schemas:
                self._schemas[document.digest] = parameters_schema(document.manifest)
            schema = self._schemas[document.digest]
            dropped = schema.stored(parameters).dropped
            notes = tuple(
                one_line(f"{place}.{path} is dropped: template {document.name} has no such parameter")
                for path in dropped[:_MOST_DROPPED]
            )
            if len(dropped) > _MOST_DROPPED:
                notes += (f"{place}: {len(dropped) - _MOST_DROPPED} more keys are dropped",)
            if store_path(chosen.url) is not None:
                notes += tuple(value_notes(document.constraint_kind, parameters, place))
            self._judged[key] = (schema.fault(parameters, place), notes)
        fault, notes = self._judged[key]
        if fault:
            raise Problem(
                UnresolvedReason.PARAMETER,
                f"{fault}{_origin(fault, origins)}, by the schema of template {document.name}",
            )
        return notes

    def _notes_on(self, match: dict[str, Json], action: str) -> tuple[str, ...]:
        """Notes on a match block, worked out once for those that share it."""
        key = (id(match), action)
        if key not in self._match_notes:
            self._match_notes[key] = match_notes(match, action=action)
        return self._match_notes[key]

    def _match(self, policy: EffectivePolicy, place: str, file: Mapping[str, Json] | None = None) -> dict[str, Json]:
        """A match block, over that of the constraint or mutator file, shared by all members that look at the same."""
        match = policy.match
        # The selector is compared by identity: it cannot be hashed, and an equal copy only costs memory.
        key = (
            match.api_groups, match.kinds, match.namespaces, match.excluded_namespaces,
            id(match.label_selector) if match.label_selector else None, match.source, match.scope, id(file),
        )  # fmt: skip
        if key not in self._matches:
            if file is None:
                _check_kinds(match)
            spec = as_mapping(file.get("spec"), "spec") if file else {}
            base = as_mapping(without_nulls(spec.get("match")), "spec.match")
            block = match_block(match, self.always_excluded, base)
            _check_match(block, place, policy.origins)
            self._matches[key] = block
        return self._matches[key]

    def _values(self, by: TemplatePolicy, template: TemplateDocument, body: dict[str, Json] | None = None) -> Json:
        """A constraint's parameters, with those of its file, shared by all members that are given the same."""
        key = (id(by), id(body))
        if key not in self._parameters:
            self._parameters[key] = without_nulls(_with_values(by, template, body))
        return self._parameters[key]

    def _from_file(
        self, policy: EffectivePolicy, by: TemplatePolicy, source: DocumentSource, template: TemplateDocument, name: str
    ) -> tuple[dict[str, Json], dict[str, Json], Json]:
        """Metadata, match and parameters of a constraint that has a file of its own."""
        file = self._document(Wanted(source, DocumentKind.CONSTRAINT), ConstraintDocument, legacy_form=by.legacy)
        text = fill(file.text, _old_form_values(policy, by)) if by.legacy else file.text
        body = self._bodies.get(text)
        if body is None:
            body = self._bodies[text] = _constraint_body(text)
        if body["kind"] != template.constraint_kind:
            raise DocumentError(
                f"the constraint file is of kind {body['kind']!r}, its template {template.constraint_kind!r}"
            )
        kept = clean_metadata(body)
        url = source.url if isinstance(source, PublicUrl) else ""
        annotations = {
            **as_mapping(kept.get("annotations"), "annotations"),
            **self.marks.member_annotations(policy.member, url),
        }
        labels = {**as_mapping(kept.get("labels"), "labels"), **self.labels}
        parameters, match = self._values(by, template, body), self._match(policy, f"{_FILE}.match", body)
        return {"name": name, "labels": labels, "annotations": annotations}, match, parameters

    def _mutator(self, policy: EffectivePolicy, by: MutationPolicy) -> _Draft | NotApplied:
        if policy.effect is not Effect.MUTATE:
            raise Problem(UnresolvedReason.EFFECT, f"effect {policy.effect} cannot go with a mutation")
        if policy.enforcement_mode is not EnforcementMode.DEFAULT:
            message = f"a mutation has no dry run, so enforcement mode {policy.enforcement_mode} leaves it out"
            return not_applied(policy.member, NotAppliedReason.NOT_ENFORCED, message)
        document = self._document(Wanted(by.mutation, DocumentKind.MUTATION), MutationDocument)
        member = policy.member
        match = self._match(policy, "the mutation's spec.match", document.manifest)
        manifest = mutator_manifest(
            document,
            constraint_name(document.name, member.assignment_id, member.reference_id, member.definition_id),
            match=match,
            annotations=self.marks.member_annotations(member),
            labels=self.marks.labels(),
        )
        made = DesiredObject.of(Role.MUTATOR, manifest, (member,))
        return _Draft(policy, made, "", document, match_notes=self._notes_on(match, ""))

    def _document(self, wanted: Wanted, expected: type[_D], *, legacy_form: bool = False) -> _D:
        document = self.documents[wanted]
        if isinstance(document, Unavailable):
            raise Problem(_reason(document.cause, wanted.source, legacy=legacy_form), document.reason)
        assert isinstance(document, expected)
        return document


def _reason(cause: UnresolvedReason, source: DocumentSource, *, legacy: bool) -> UnresolvedReason:
    """The cause; but for Azure's own files of the legacy form, where one is missing, a newer version helps instead."""
    azures = legacy and isinstance(source, PublicUrl) and store_path(source.url) is not None
    return UnresolvedReason.LEGACY_FORM if azures and cause is UnresolvedReason.TEMPLATE else cause


def _data(templates: Iterable[Chosen], inventory: InventoryKinds) -> frozenset[DataKind]:
    """The kinds that Gatekeeper has to replicate for these templates."""
    kinds: set[DataKind] = set()
    for template in templates:
        kinds |= template.document.data | inventory.replicated(template.document.lookups)
    return frozenset(kinds)


def _with_values(by: TemplatePolicy, template: TemplateDocument, body: dict[str, Json] | None) -> dict[str, Json]:
    """A policy's values, over the parameters of its constraint file if it has one."""
    if body is None:
        return by.values  # type: ignore[return-value]
    spec = as_mapping(body.get("spec"), "spec")
    parameters = as_mapping(spec.get("parameters"), "spec.parameters")
    if not by.legacy:
        return {**parameters, **by.values}
    return {**parameters, **_declared(template, by.values)} if _takes_values(body) else parameters


def _check_kinds(match: Match) -> None:
    """A Problem where a policy without a file does not say what it looks at."""
    if not match.kinds or not match.api_groups:
        raise Problem(UnresolvedReason.DETAILS, "details need both apiGroups and kinds, and neither may be empty")
    if _ANY in match.kinds or _ANY in match.api_groups:
        raise Problem(UnresolvedReason.DETAILS, "details may not have * in apiGroups or kinds")


def _with_sources(
    drafts: list[_Draft | NotApplied | Unresolved], expansion: Expansion
) -> list[_Draft | NotApplied | Unresolved]:
    """The drafts as the setting has them look at pods that expansion makes: docs/decisions/020-expansion.md."""
    templates = {d.document.digest: d.document for d in drafts if isinstance(d, _Draft) and d.template}
    expands = any(expanded(draft.object.manifest) for draft in drafts if isinstance(draft, _Draft))
    owners = {digest: reads_owners(document.manifest) for digest, document in templates.items()}

    def placed(draft: _Draft) -> _Draft:
        wanted, reads = draft.object, owners.get(draft.document.digest, False)
        if expansion is Expansion.OFF:
            return draft.noted(_NOTHING_EXPANDS) if only_generated(wanted.manifest) else draft
        if expanded(wanted.manifest):
            return draft.noted(NEEDS_OWNERS) if reads else draft
        if not widened(wanted):
            return draft
        if expansion is Expansion.ALL:
            made = draft if reads else replace(draft, object=with_source(wanted, EVERY))
            return made.noted(_NOT_WIDENED if reads else _WIDENED)
        return draft.noted(_DEFAULTED) if expands and not draft.policy.match.source else draft

    return [placed(draft) if isinstance(draft, _Draft) else draft for draft in drafts]


def _check_match(match: dict[str, Json], place: str, origins: Mapping[str, str] | None = None) -> None:
    """A Problem that names the place, where the API server or Gatekeeper refuses a match block."""
    fault = match_schema().fault(match, place)
    if fault:
        raise Problem(UnresolvedReason.DETAILS, f"{fault}{_origin(fault, origins)}")
    for selector in _SELECTORS & match.keys():
        label_selector(match[selector], f"{place}.{selector}")


def _origin(fault: str, origins: Mapping[str, str] | None) -> str:
    """The parameters that the faulty place is made of, as a message names them."""
    at = fault.removeprefix(f"{PLACE}.")
    named = (names for key, names in (origins or {}).items() if at.startswith((f"{key} ", f"{key}.", f"{key}[")))
    found = next(named, "")
    return f" (parameter {found})" if found else ""


def _template_sources(resolutions: Iterable[Resolution]) -> frozenset[DocumentSource]:
    policies = (resolution.policy for resolution in resolutions if isinstance(resolution, EffectivePolicy))
    return frozenset(policy.template for policy in policies if isinstance(policy, TemplatePolicy))


def _without_collisions(drafts: list[_Draft | NotApplied | Unresolved]) -> list[_Draft | NotApplied | Unresolved]:
    """Members whose objects would have one name are all unresolved, because otherwise one would be lost unseen."""
    claims = Counter(draft.object.ref for draft in drafts if isinstance(draft, _Draft))
    return [
        _collided(draft) if isinstance(draft, _Draft) and claims[draft.object.ref] > 1 else draft for draft in drafts
    ]


def _collided(draft: _Draft) -> Unresolved:
    message = f"another member of the same assignment and reference id needs {draft.object.ref} too: give each its own"
    return unresolved(draft.policy.member, Problem(UnresolvedReason.COLLISION, message))


def _old_form_values(policy: EffectivePolicy, by: TemplatePolicy) -> dict[str, Json]:
    """The content of `.Values` in a constraint file of the legacy form."""
    match = policy.match
    return {
        "namespaces": list(match.namespaces),
        "excludedNamespaces": list(match.excluded_namespaces),
        "labelSelector": dict(match.label_selector or {}),
        **by.values,
    }


def _takes_values(body: Mapping[str, Json]) -> bool:
    """Whether a constraint file of the legacy form has what its definition passes as parameters, by their names.

    Files of the bundle say so: they have to be YAML before the values are in them, too, which `{{ .Values.name }}` in
    the place of a list is not.
    """
    metadata = as_mapping(body.get("metadata"), "metadata")
    return as_mapping(metadata.get("annotations"), "metadata.annotations").get(_PARAMETERS) == "values"


def _declared(template: TemplateDocument, values: Mapping[str, Json]) -> dict[str, Json]:
    """Those values that the template's schema has a parameter for: some are only for the file's own places."""
    schema: Json = template.manifest["spec"]
    for key in ("crd", "spec", "validation", "openAPIV3Schema", "properties"):
        schema = as_mapping(schema, key).get(key)
    return {name: value for name, value in values.items() if name in as_mapping(schema, "properties")}


def _constraint_body(text: str) -> dict[str, Json]:
    """A constraint file's content, checked as far as possible without its template."""
    body = read_mapping(text)
    group = str(body.get("apiVersion")).partition("/")[0]
    if group != CONSTRAINT_GROUP or not isinstance(body.get("kind"), str):
        told = f"apiVersion {body.get('apiVersion')!r} and kind {body.get('kind')!r}"
        raise DocumentError(f"the constraint file has {told}, so it is not a constraint")
    return as_mapping(without_nulls(body), "the constraint file")
