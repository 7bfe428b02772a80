"""Whether Gatekeeper has accepted what was written: pure readings of status. docs/design.md (Ready means ready).

`status.created` comes early, and is wrong after a recreate; generations, the CRD's conditions and its schema decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from controller.cluster.foreign import mapping_at, mappings_at, text_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from controller.cluster.kinds import LiveObject

# Gatekeeper's own writes of the CRD can meet a conflict or a CRD that still terminates; every other code is final.
PASSING_CODES: Final = frozenset({"create_error", "update_error"})
WARNING_CODES: Final = frozenset({"operation_mismatch_warning"})
PASSING_ERROR_SECONDS: Final = 30.0
# Without a status for so long, Gatekeeper is nudged, about so many objects at a time: each nudge takes it time.
NUDGE_SECONDS: Final = 30.0
NUDGES_AT_ONCE: Final = 5


@dataclass(frozen=True, slots=True)
class Ready:
    """Taken up everywhere."""


@dataclass(frozen=True, slots=True)
class Pending:
    """Not yet; `passing` when errors are reported that may go away by themselves."""

    message: str
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Broken:
    """Gatekeeper rejects it."""

    message: str


Verdict: TypeAlias = Ready | Pending | Broken


def template_verdict(template: LiveObject, crd: Mapping[str, Any] | None) -> Verdict:
    """The verdict of Gatekeeper's pods and the CRD on a template's generation; the kind still has to be listed."""
    verdict = pods_verdict(template)
    return crd_verdict(template, crd) if isinstance(verdict, Ready) else verdict


def pods_verdict(template: LiveObject) -> Verdict:
    """What Gatekeeper's pods say of a template's generation; the CustomResourceDefinition has its own say."""
    errors = _errors(template)
    if errors:
        text = "; ".join(_told(errors))
        final = any(text_at(e, "code") not in PASSING_CODES for e in errors)
        return Broken(text) if final else Pending(text, passing=True)
    if is_status_stale(template):
        return Pending("Gatekeeper has not accepted the template yet")
    return Ready()


def template_errors(template: LiveObject) -> tuple[str, ...]:
    """The errors of Gatekeeper's pods about a template's present generation, each once; warnings do not count."""
    return _told(_errors(template))


def expansion_verdict(template: LiveObject) -> Ready | Broken:
    """Whether Gatekeeper expands by an ExpansionTemplate: not where it is part of a cycle, whoever's the rest is.

    https://open-policy-agent.github.io/gatekeeper/website/docs/expansion
    """
    current = filter(_currents(template), _by_pod(template))
    errors = {_message(error) for entry in current for error in mappings_at(entry, "errors")}
    return Broken("; ".join(sorted(errors))) if errors else Ready()


def _errors(template: LiveObject) -> list[Mapping[str, Any]]:
    errors = [e for entry in filter(_currents(template), _by_pod(template)) for e in mappings_at(entry, "errors")]
    return [e for e in errors if text_at(e, "code") not in WARNING_CODES]


def _told(errors: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(sorted({f"{text_at(e, 'code')}: {_message(e)}" for e in errors}))


def _message(error: Mapping[str, Any]) -> str:
    return " ".join(text_at(error, "message").split())


def crd_verdict(template: LiveObject, crd: Mapping[str, Any] | None) -> Verdict:
    """Whether the CustomResourceDefinition of a template is established, with the template's schema."""
    if crd is None:
        return Pending("its CustomResourceDefinition does not exist yet")
    conditions = {text_at(c, "type"): text_at(c, "status") for c in mappings_at(crd, "status", "conditions")}
    if "deletionTimestamp" in mapping_at(crd, "metadata") or conditions.get("Terminating") == "True":
        return Pending("its CustomResourceDefinition is being deleted")
    if conditions.get("Established") != "True":
        return Pending("its CustomResourceDefinition is not established yet")
    if not _carries(_wanted_schema(template), _served_schema(crd)):
        return Pending("its CustomResourceDefinition still has the old schema")
    return Ready()


def constraint_verdict(constraint: LiveObject) -> Verdict:
    """Whether every Gatekeeper pod enforces a constraint's present generation; an unsupported VAP does not count."""
    if is_status_stale(constraint):
        return Pending("Gatekeeper has not accepted the constraint yet")
    entries = _by_pod(constraint)
    errors = [_message(e) for entry in entries for e in mappings_at(entry, "errors")]
    if all(entry.get("enforced") is True for entry in entries):
        return Ready()
    return Pending("; ".join(errors) or "Gatekeeper does not enforce it yet", passing=bool(errors))


def is_status_stale(live: LiveObject) -> bool:
    """Whether a Gatekeeper pod, or all of them, have not reported on the object's present generation."""
    entries = _by_pod(live)
    return not entries or not all(map(_currents(live), entries))


def _by_pod(live: LiveObject) -> Sequence[Mapping[str, Any]]:
    return mappings_at(live.manifest, "status", "byPod")


def _currents(live: LiveObject) -> Callable[[Mapping[str, Any]], bool]:
    """Tells whether a pod speaks of this object at its present generation: one made again starts at 1, too."""
    uid, generation = live.uid, live.generation

    def current(entry: Mapping[str, Any]) -> bool:
        speaks = entry.get("templateUID", uid) == uid == entry.get("constraintUID", uid)
        return speaks and bool(entry.get("observedGeneration") == generation)

    return current


def _wanted_schema(template: LiveObject) -> Any:
    return mapping_at(template.manifest, "spec", "crd", "spec", "validation", "openAPIV3Schema")


def _served_schema(crd: Mapping[str, Any]) -> Any:
    for version in mappings_at(crd, "spec", "versions"):
        if version.get("served") and version.get("name") == "v1beta1":
            spec = mapping_at(version, "schema", "openAPIV3Schema", "properties", "spec")
            return mapping_at(spec, "properties", "parameters")
    return {}


def _carries(wanted: Any, served: Any) -> bool:
    """Whether every property name that `wanted` declares is declared in `served`; other keywords may be rewritten."""
    if not isinstance(wanted, dict) or not isinstance(served, dict):
        return True
    names = mapping_at(wanted, "properties")
    there = mapping_at(served, "properties")
    return all(name in there and _carries(schema, there[name]) for name, schema in names.items()) and _carries(
        wanted.get("items"), served.get("items")
    )
