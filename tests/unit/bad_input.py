"""A world of two healthy assignments, and the ways to put something broken or hostile beside them.

A case is a function that writes into the world's folder, and the one word that everything hostile ends with: the effect
where it is in force, the reason where it is not, the error's name where the snapshot as a whole is refused.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from controller.azure.snapshot import read_snapshot
from controller.gatekeeper.desired import desired_state
from controller.gatekeeper.model import Rendered
from controller.gatekeeper.naming import OwnershipMarks
from controller.gatekeeper.providers import make_provider
from tests.snapshots import STORE, template_text
from tests.unit.azure_builders import (
    CLUSTER_ID,
    NOW,
    assignment_id,
    definition_id,
    initiative_id,
    make_assignment,
    make_cluster,
    make_definition,
    make_details,
    make_initiative,
    make_reference,
    with_properties,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from controller.gatekeeper.model import DesiredState, Outcome
    from controller.jsontypes import Json

Put: TypeAlias = "Callable[[Path], object]"
Document: TypeAlias = "dict[str, Json]"

NAME: Final = "hostile"
HEALTHY: Final = (assignment_id("healthy"), assignment_id("healthy-set"))
INPUT_ERROR: Final = "InputError"
SOURCE_ERROR: Final = "SourceError"
NOTHING: Final = "nothing"


@dataclass(frozen=True, slots=True)
class Case:
    """What is put into the world, the word that it ends with, and what the reason says (a regular expression)."""

    put: Put
    end: str
    says: str = ""


def make_world(root: Path) -> None:
    """A cluster, two healthy assignments, and the templates that they and a hostile definition ask for."""
    for name in ("healthy", NAME):
        serve(root, "template", template_text(f"K8s{name.title()}").encode(), name)
    url = f"{STORE}/healthy/v1/template.yaml"
    write_snapshot(
        root,
        "healthy.json",
        [
            make_cluster(),
            make_assignment("healthy", of=definition_id("healthy"), effect="Deny"),
            make_assignment("healthy-set", of=initiative_id("healthy")),
            make_initiative(make_reference("one", definition_id("healthy")), name="healthy"),
            make_definition("healthy", details=make_details(templateInfo={"sourceType": "PublicURL", "url": url})),
        ],
    )


async def sync(root: Path) -> DesiredState:
    """What the world means for its cluster, read as `azpolicy render` and the operator read it."""
    state = read_snapshot(root / "snapshot", CLUSTER_ID)
    provider = make_provider(str(root / "templates"))
    return await desired_state(state, provider, now=NOW, marks=OwnershipMarks())


def word(outcome: Outcome) -> str:
    """An outcome in one word: the effect, or the reason why there is none."""
    return outcome.effect if isinstance(outcome, Rendered) else outcome.reason.value


# --- what is put where -----------------------------------------------------------------------------------------------


def write_snapshot(root: Path, name: str, content: Json | bytes) -> Path:
    """Writes one file of the snapshot."""
    file = root / "snapshot" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return file


def serve(root: Path, kind: str, content: bytes, name: str = NAME) -> None:
    """Writes one file of the template folder."""
    file = root / "templates" / name / "v1" / f"{kind}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def text(content: bytes | str) -> Put:
    """A file of the snapshot with just these bytes."""
    return lambda root: write_snapshot(root, "hostile.json", content.encode() if isinstance(content, str) else content)


def documents(*given: Document) -> Put:
    """A file of the snapshot with these documents."""
    return lambda root: write_snapshot(root, "hostile.json", [*given])


def defined(
    details: Json = None,
    *,
    condition: Json = None,
    effect: Json = "[parameters('effect')]",
    given: Mapping[str, Json] | None = None,
    parameters: Mapping[str, Json] | None = None,
    changed: Mapping[str, Json] | None = None,
) -> Put:
    """A definition like this, and an assignment that gives it parameters; `changed` are other properties of it."""
    wanted = hostile_details() if details is None else details
    definition = make_definition(NAME, details=wanted, condition=condition, effect=effect, parameters=parameters)
    return documents(
        make_assignment(NAME, of=definition_id(NAME), effect="Deny", parameters=given),
        with_properties(definition, changed or {}),
    )


def hostile_details(**changes: Json) -> Document:
    """Details with a template that is there; a change to None takes a key away."""
    return make_details(**{"templateInfo": public("template"), **changes})


def valued(value: Json, parameters: Mapping[str, Json] | None = None) -> Put:
    """A definition that hands this value, or what the expression in it yields, to its template."""
    return defined(hostile_details(values={"anything": value}), parameters=parameters)


def public(kind: str) -> Json:
    """Where a definition says that its document is."""
    return {"sourceType": "PublicURL", "url": f"{STORE}/{NAME}/v1/{kind}.yaml"}


def carried(content: bytes | str) -> Json:
    """A document in the definition itself."""
    encoded = base64.b64encode(content.encode() if isinstance(content, str) else content)
    return {"sourceType": "Base64Encoded", "content": encoded.decode()}


def template(content: bytes | str) -> Put:
    """A definition whose template is this."""
    return defined(hostile_details(templateInfo=carried(content)))


def mutation(content: bytes | str) -> Put:
    """A definition whose mutator is this."""
    return defined({"mutationInfo": carried(content)}, effect="Mutate")


def constraint(content: bytes | str) -> Put:
    """A definition whose constraint has this file."""
    return defined({"templateInfo": public("template"), "constraintInfo": carried(content)})


def old_constraint(content: str, values: Mapping[str, Json] | None = None) -> Put:
    """A definition of the old form whose constraint has this file, to be filled with values."""

    def put(root: Path) -> None:
        serve(root, "constraint", content.encode())
        url = f"{STORE}/{NAME}/v1"
        details: Document = {"constraintTemplate": f"{url}/template.yaml", "constraint": f"{url}/constraint.yaml"}
        defined({**details, "values": dict(values or {})})(root)

    return put
