"""The compliance that Azure has for the cluster, to be compared with what Gatekeeper's audit found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from controller.azure.model import fold

if TYPE_CHECKING:
    from collections.abc import Iterable

    from controller.azure.arm import ArmReader

_NON_COMPLIANT: Final = "noncompliant"


@dataclass(frozen=True, slots=True)
class Component:
    """A Kubernetes object as Azure names it: `id` is `namespace/name`, or the name alone of a cluster-scoped one.

    `namespace` is empty for a cluster-scoped object, and None where the id does not tell it. The kind's case is Azure's
    own, `pod` as well as `Pod`. Source of the form: Component Policy States - List Query Results For Resource
    (REST API of Microsoft.PolicyInsights, 2022-04-01).
    """

    id: str
    type: str
    namespace: str | None
    name: str


@dataclass(frozen=True, slots=True)
class MemberCompliance:
    """What Azure says of one assignment member; `compliant` is None where it has not judged (exempt, not started…).

    Ids as Azure spells them; `reference_id` is empty for an assigned definition. `components` are those at fault.
    """

    assignment_id: str
    reference_id: str
    definition_id: str
    compliant: bool | None
    state: str
    components: tuple[Component, ...] = ()


async def read_compliance(reader: ArmReader) -> tuple[MemberCompliance, ...]:
    """The latest policy states of the reader's cluster, whole, by assignment and member; SourceError otherwise."""
    states = await reader.policy_states()
    return tuple(sorted((_member(state) for state in states), key=_order))


def _member(state: Any) -> MemberCompliance:
    """From the SDK's PolicyState, all of whose attributes may be None."""
    told = state.compliance_state or ""
    return MemberCompliance(
        assignment_id=state.policy_assignment_id or "",
        reference_id=state.policy_definition_reference_id or "",
        definition_id=state.policy_definition_id or "",
        compliant={"compliant": True, _NON_COMPLIANT: False}.get(told.casefold()),
        state=told,
        components=tuple(sorted(_at_fault(state.components or ()), key=_by_id))
        if told.casefold() == _NON_COMPLIANT
        else (),
    )


def _at_fault(components: Iterable[Any]) -> Iterable[Component]:
    """The components that are not compliant; one without a state of its own shares its member's."""
    for each in components:
        if (each.compliance_state or _NON_COMPLIANT).casefold() == _NON_COMPLIANT:
            yield _component(each)


def _component(told: Any) -> Component:
    """From the SDK's ComponentStateDetails; newer answers spell its fields with `component` before them."""
    more = told.additional_properties or {}
    identity, kind, name = (
        str(value or more.get(f"component{key}") or "")
        for key, value in (("Id", told.id), ("Type", told.type), ("Name", told.name))
    )
    namespace, slash, last = identity.partition("/")
    if not slash:
        namespace, last = "", identity
    placed = bool(last) and "/" not in last and bool(namespace) is bool(slash)
    return Component(identity, kind, namespace if placed else None, (last if placed else name or identity))


def _by_id(component: Component) -> tuple[str, str]:
    return component.id, component.type


def _order(member: MemberCompliance) -> tuple[str, str, str]:
    return fold(member.assignment_id), member.reference_id.casefold(), fold(member.definition_id)
