"""Azure's own definitions, each assigned with every parameter filled, on a real cluster.

The API server accepts every object that comes of them, and every template becomes ready. How many there are follows
from the bundle: a definition counts when the documents that it points at are there. Figures are printed (pytest -s).

The definitions are no part of this repository: the tests run where a checkout has them beside it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.azpolicy import (
    Azpolicy,
    Ended,
    all_constraints,
    all_enforced,
    constraints_and_mutators,
    templates,
)
from tests.cluster.harness import TestCluster, eventually
from tests.snapshots import Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = ROOT.parent / "shared" / "azure-policy"
BUNDLE = ROOT / "templates"
MANAGED_CLUSTER = "Microsoft.ContainerService/managedClusters"
SAMPLES: dict[str, Any] = {"string": "x", "array": ["x"], "object": {}, "boolean": True, "integer": 1}
FITTING = {"cpuLimit": "200m", "memoryLimit": "1Gi", "allowedServicePortsList": ["80"], "kind": "Ingress"}
NO_EFFECT = "disabled"
# What Azure called deny until 2020.
GIVEN_UP = "enforceopaconstraint"


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    """A snapshot with all of Azure's definitions and initiatives, and nothing assigned."""
    if not CATALOGUE.is_dir():
        pytest.skip("Azure's definitions are not beside this checkout")
    made = Snapshot(tmp_path / "snapshot")
    for folder in ("definitions", "initiatives"):
        shutil.copytree(CATALOGUE / folder, made.folder / folder)
    return made


def documents(folder: str) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted((CATALOGUE / folder).glob("*/*.json"))]


def version_of(document: Mapping[str, Any]) -> str:
    properties = document["properties"]
    return str(properties.get("version") or properties["metadata"]["version"])


def filled(parameters: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A value for every parameter: its default, one that fits, or any of its type; an effect that has one."""
    values = {
        name: each["defaultValue"] if "defaultValue" in each else FITTING.get(name, SAMPLES[each["type"].lower()])
        for name, each in parameters.items()
    }
    for name, each in parameters.items():
        if "effect" in name.lower() and str(values[name]).lower() == NO_EFFECT:
            values[name] = next(value for value in each["allowedValues"] if value.lower() != NO_EFFECT)
    return values


def assign_all(snapshot: Snapshot, found: list[dict[str, Any]]) -> None:
    for document in found:
        parameters = filled(document["properties"].get("parameters", {}))
        version = version_of(document)
        snapshot.assign(f"{document['name']}-{version}", document["id"], version=version, **parameters)


def in_bundle(definition: Mapping[str, Any]) -> bool:
    """Whether the bundle has what a definition points at, and it is for managed clusters and has an effect of today."""
    rule = definition["properties"]["policyRule"]
    kinds = rule["if"].get("in") or [rule["if"]["equals"]]
    details = rule["then"]["details"]
    source = details.get("templateInfo") or details.get("mutationInfo")
    urls = [source["url"]] if source else [details["constraintTemplate"], details["constraint"]]
    effects = definition["properties"]["parameters"].get("effect", {}).get("allowedValues", [])
    of_today = GIVEN_UP not in [each.lower() for each in effects]
    return of_today and MANAGED_CLUSTER in kinds and all((BUNDLE / _path(url)).is_file() for url in urls)


def _path(url: str) -> str:
    """Where a document lies below the root of a store, old or new."""
    return re.split("/kubernetes/", url, maxsplit=1, flags=re.IGNORECASE)[-1]


def outcomes(ended: Ended) -> Counter[tuple[str, str]]:
    return Counter((member["outcome"], member["reason"]) for member in ended.document()["members"])


def counted(cluster: TestCluster) -> str:
    """What is in the cluster, for people."""
    constraints = len(all_constraints(cluster))
    mutators = len(constraints_and_mutators(cluster)) - constraints
    return f"{len(templates(cluster))} templates, {constraints} constraints, {mutators} mutators"


def applied(azpolicy: Azpolicy) -> Ended:
    """Applies: everything is accepted, every template ready, every constraint enforced. The plan after it."""
    ended = azpolicy.apply()
    assert ended.code == 0, ended.out
    not_ready = {
        name: live["status"]
        for name, live in templates(azpolicy.cluster).items()
        if not live["status"].get("created") or any(pod.get("errors") for pod in live["status"]["byPod"])
    }
    assert not_ready == {}
    eventually(lambda: all_enforced(azpolicy.cluster), timeout=120, what="every constraint to be enforced")
    planned = azpolicy.plan()
    assert planned.changes() == {}
    assert planned.code == 0, planned.err
    return planned


def test_every_definition_with_every_parameter_filled_is_accepted(tidy: TestCluster, snapshot: Snapshot) -> None:
    found = documents("definitions")
    assign_all(snapshot, found)
    expected = [definition for definition in found if in_bundle(definition)]
    azpolicy = Azpolicy(tidy, snapshot.folder, user="catalogue-definitions")

    planned = applied(azpolicy)

    figures = outcomes(planned)
    enforcing = constraints_and_mutators(tidy)
    print(f"\n{len(found)} definitions: {dict(figures)}; {counted(tidy)}")
    assert sum(figures.values()) == len(found) == 243
    assert figures["Rendered", ""] == len(expected) > 0
    assert len(enforcing) == len(expected)
    dropped = [change for change in planned.document()["changes"] if change["droppedFields"]]
    assert dropped == []


def test_every_initiative_is_accepted(tidy: TestCluster, snapshot: Snapshot) -> None:
    found = documents("initiatives")
    assign_all(snapshot, found)
    azpolicy = Azpolicy(tidy, snapshot.folder, user="catalogue-initiatives")

    planned = applied(azpolicy)

    figures = outcomes(planned)
    members = sum(len(initiative["properties"]["policyDefinitions"]) for initiative in found)
    print(f"\n{len(found)} initiatives: {dict(figures)}; {counted(tidy)}")
    assert sum(figures.values()) == members
    assert figures["Rendered", ""] == len(constraints_and_mutators(tidy)) > 0
