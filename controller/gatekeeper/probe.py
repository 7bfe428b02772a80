"""The probe: a template and a constraint of our own that deny one object which nobody ever makes.

Asking for that object by a dry run must be refused. If it is admitted, Gatekeeper enforces no other constraint either,
whatever its webhook's configuration looks like: docs/decisions/012-enforcement-is-proven.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from controller.gatekeeper.model import DesiredObject, ObjectRef, Role
from controller.gatekeeper.naming import (
    CONSTRAINT_GROUP,
    CONSTRAINT_INSTALLED_BY,
    CONSTRAINT_VERSION,
    TEMPLATE_GROUP,
    TEMPLATE_INSTALLED_BY,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from controller.gatekeeper.naming import OwnershipMarks
    from controller.jsontypes import Json

KIND: Final = "AzpolicyProbe"
NAME: Final = "azpolicy-probe"
TEMPLATE_REF: Final = ObjectRef(TEMPLATE_GROUP, "ConstraintTemplate", KIND.lower())
CONSTRAINT_REF: Final = ObjectRef(CONSTRAINT_GROUP, KIND, NAME)
REFS: Final = frozenset({TEMPLATE_REF, CONSTRAINT_REF})
_REGO: Final = """package azpolicyprobe

violation[{"msg": msg}] {
  msg := "this is azpolicy's probe, which is always denied"
}
"""


def probe_objects(marks: OwnershipMarks, namespace: str) -> tuple[DesiredObject, DesiredObject]:
    """The template and the constraint for probes in a namespace; they are of no policy."""
    labels: dict[str, Json] = {**marks.labels()}
    template: dict[str, Json] = {
        "apiVersion": f"{TEMPLATE_GROUP}/v1",
        "kind": TEMPLATE_REF.kind,
        "metadata": {
            "name": TEMPLATE_REF.name,
            "labels": labels,
            "annotations": {TEMPLATE_INSTALLED_BY: marks.managed_by},
        },
        "spec": {
            "crd": {"spec": {"names": {"kind": KIND}}},
            "targets": [{"target": "admission.k8s.gatekeeper.sh", "rego": _REGO}],
        },
    }
    constraint: dict[str, Json] = {
        "apiVersion": CONSTRAINT_VERSION,
        "kind": KIND,
        "metadata": {"name": NAME, "labels": labels, "annotations": {CONSTRAINT_INSTALLED_BY: marks.managed_by}},
        "spec": {
            "enforcementAction": "deny",
            "match": {"kinds": [{"apiGroups": [""], "kinds": ["ConfigMap"]}], "namespaces": [namespace], "name": NAME},
        },
    }
    return DesiredObject.of(Role.TEMPLATE, template, ()), DesiredObject.of(Role.CONSTRAINT, constraint, ())


def probed_object(namespace: str) -> dict[str, Any]:
    """The object that must be refused."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": namespace}}


def is_probes_denial(message: str) -> bool:
    """Whether words of the API server are Gatekeeper's denial by the probe's constraint.

    Gatekeeper puts the name of the constraint into brackets before its message.
    """
    return "denied the request" in message and f"[{NAME}]" in message


def without_probe(objects: Iterable[DesiredObject]) -> tuple[DesiredObject, ...]:
    """What is of policies."""
    return tuple(each for each in objects if each.ref not in REFS)
