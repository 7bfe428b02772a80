"""Notes about a `spec.match` that can match nothing: Gatekeeper takes it, and it enforces nothing. Pure.

Only what shows from the object itself: what a cluster has no namespace or no label for today, it may have tomorrow.
https://open-policy-agent.github.io/gatekeeper/website/docs/howto/#the-match-field says what the fields mean, and
`pkg/mutation/match/match.go` of Gatekeeper in which cases they are not looked at: an object without a namespace is left
out by neither namespaces nor namespace selectors, unless it is a Namespace itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from controller.gatekeeper.builtin_kinds import CONNECTED, homes, is_namespaced, is_unknown, kinds_in
from controller.gatekeeper.label_selectors import IN, contradiction, requirements

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from controller.jsontypes import Json

# Every namespace has this label, with its name: https://kubernetes.io/docs/reference/labels-annotations-taints/
NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"
_NAMESPACE: Final = ("", "Namespace")
# The API server asks no webhook about these, as one of them could lock it out for good:
# https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
_NEVER_ASKED: Final = frozenset(
    ("admissionregistration.k8s.io", kind)
    for kind in (
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
        "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
    )
)


def match_notes(match: Mapping[str, Json], *, action: str) -> tuple[str, ...]:
    """Notes for people, empty where something can match; `action` is the enforcementAction, empty for a mutator."""
    return tuple(f"it can match nothing: {why}" for why in _reasons(match)) or tuple(_unasked(match, action))


def _reasons(match: Mapping[str, Json]) -> Iterator[str]:
    kinds = kinds_in(_listed(match.get("kinds")))
    if kinds and all(is_unknown(*each) for each in kinds):
        named = (f"{kind} in {_group(group)}" for group, kind in sorted(kinds))
        found = {kind: homes(kind) for _, kind in sorted(kinds)}
        advice = (f"{kind} is in {' and '.join(map(_group, groups))}" for kind, groups in found.items() if groups)
        yield "; ".join((f"Kubernetes has no kind {' or '.join(named)}", *advice))
        return
    known = frozenset(each for each in kinds if not is_unknown(*each))
    scope = match.get("scope")
    if known and scope == "Cluster" and all(is_namespaced(*each) is True for each in known):
        yield f"its scope is Cluster, and {_told(known)} has a namespace"
    if known and scope == "Namespaced" and all(is_namespaced(*each) is False for each in known):
        yield f"its scope is Namespaced, and {_told(known)} has no namespace"
    if why := contradiction(match.get("labelSelector")):
        yield f"in its labelSelector, {why}"
    # Objects without a namespace are matched whatever these say.
    if scope == "Namespaced" or (known and all(is_namespaced(*each) or each == _NAMESPACE for each in known)):
        yield from _without_namespace(match)


def _without_namespace(match: Mapping[str, Json]) -> Iterator[str]:
    """Why no namespace is left."""
    selector = match.get("namespaceSelector")
    if why := contradiction(selector, always=frozenset({NAMESPACE_NAME})):
        yield f"in its namespaceSelector, {why}"
    excluded = _names(match.get("excludedNamespaces"))
    if any(pattern and not pattern.strip("*") for pattern in excluded):
        yield "every namespace is excluded"
        return
    selected = [each.values for each in requirements(selector) if (each.key, each.operator) == (NAMESPACE_NAME, IN)]
    for chosen in filter(None, (_names(match.get("namespaces")), *map(sorted, selected))):
        if all(any(includes(pattern, name) for pattern in excluded) for name in chosen):
            yield f"of its namespaces ({', '.join(chosen)}), each is excluded ({', '.join(excluded)})"


def includes(pattern: str, name: str) -> bool:
    """Whether a name or pattern of namespaces is all within a pattern; both may begin and end with `*`.

    As in `pkg/wildcard/wildcard.go` of Gatekeeper.
    """
    core, of_name = pattern.strip("*"), name.strip("*")
    open_before, open_after = pattern.startswith("*"), pattern.endswith("*")
    if (name.startswith("*") and not open_before) or (name.endswith("*") and not open_after):
        return False
    if open_before and open_after:
        return core in of_name
    if open_before:
        return of_name.endswith(core)
    return of_name.startswith(core) if open_after else of_name == core


def _unasked(match: Mapping[str, Json], action: str) -> Iterator[str]:
    """What the API server never asks Gatekeeper about, though it may be there."""
    kinds = kinds_in(_listed(match.get("kinds")))
    if kinds and action != "dryrun" and kinds <= _NEVER_ASKED | CONNECTED:
        why = (
            "the API server asks no webhook about it, so only audits find it"
            if kinds <= _NEVER_ASKED
            else "it comes with CONNECT requests alone, about which Gatekeeper's webhook does not ask"
        )
        yield f"it changes or denies no {_told(kinds)}: {why}"


def _group(name: str) -> str:
    return name or "the core group"


def _told(kinds: frozenset[tuple[str, str]]) -> str:
    return " or ".join(f"{kind}.{group}" if group else kind for group, kind in sorted(kinds))


def _listed(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _names(value: Json) -> list[str]:
    return [each for each in _listed(value) if isinstance(each, str)]
