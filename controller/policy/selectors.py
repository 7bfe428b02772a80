"""Resource selectors, the selectors of overrides, scopes: which cluster and which members an assignment is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.azure.model import stands_above
from controller.policy.fields import location_of, normalised_location
from controller.policy.verdict import Unknown, Verdict, all_of, any_of, negate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from controller.azure.model import AzureState, ClusterResource, ResourceSelector, Selector


def selected(groups: Iterable[ResourceSelector], cluster: ClusterResource) -> Verdict:
    """Whether the cluster is selected: by any group whose selectors all hold. No group at all selects everything."""
    verdicts = [all_of(_holds(each, cluster) for each in group.selectors) for group in groups]
    return any_of(verdicts) if verdicts else True


def override_is_for(selectors: Iterable[Selector], cluster: ClusterResource, reference_id: str) -> Verdict:
    """Whether an override is for this cluster and member; one without selectors is for every member."""
    return all_of(_holds(each, cluster, reference_id) for each in selectors)


def selects_members(selectors: Iterable[Selector]) -> bool:
    """Whether selectors distinguish members."""
    return any(each.kind.casefold() == "policydefinitionreferenceid" for each in selectors)


def _holds(selector: Selector, cluster: ClusterResource, reference_id: str | None = None) -> Verdict:
    """One selector on the cluster, or on one member where a reference id is given."""
    if selector.kind.casefold() == "resourcerolloutpercentage":
        return _reached(selector.progress)
    subject = _subject(selector.kind, cluster, reference_id)
    if isinstance(subject, Unknown):
        return subject
    listed = [_comparable(selector.kind, value) for value in selector.within or selector.not_in or ()]
    match selector.within, selector.not_in:
        case (tuple(), None):
            return subject in listed
        case (None, tuple()):
            return negate(subject in listed)
        case _:
            return Unknown(f"the selector {selector.kind} must have either 'in' or 'notIn'")


def _reached(progress: float | None) -> Verdict:
    """Whether a rollout has reached the cluster: which resources are in which part of it, Azure alone knows."""
    if progress is None:
        return Unknown("the selector resourceRolloutPercentage must have a 'progress'")
    if progress in (0, 100):
        return progress == 100  # noqa: PLR2004 - a percentage
    return Unknown(f"the rollout has reached {progress:g} % of the resources, and Azure alone knows which")


def _subject(kind: str, cluster: ClusterResource, reference_id: str | None) -> str | Unknown:
    match kind.casefold():
        case "resourcelocation":
            return location_of(cluster)
        case "resourcetype":
            return cluster.type.casefold()
        case "resourcewithoutlocation":
            return ""  # A cluster always has a location, so no listed value is it.
        case "policydefinitionreferenceid" if reference_id is not None:
            return reference_id.casefold()
        case _:
            return Unknown(f"the selector {kind} cannot be evaluated outside Azure")


def _comparable(kind: str, value: str) -> str:
    return normalised_location(value) if kind.casefold() == "resourcelocation" else value.casefold()


def above_cluster(scope: str, state: AzureState) -> Verdict:
    """Whether a scope is the cluster's or above it; a management group's is known only where Azure told which are."""
    above = stands_above(scope, state.cluster.id, state.management_groups)
    return (
        Unknown(f"it is not known whether the management group {scope} is above the cluster")
        if above is None
        else above
    )
