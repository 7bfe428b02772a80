"""Hostile objects on the real cluster, nested without end or with a status of any type: the operator still enforces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from controller.bounded_json import DEEPEST
from tests.cluster.azpolicy import CONSTRAINTS, MUTATORS, TEMPLATES, Azpolicy, constraints_of, edit, pod, refusal
from tests.cluster.harness import eventually
from tests.snapshots import Snapshot, TemplateFolder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.azpolicy import Operator
    from tests.cluster.harness import TestCluster

KIND = "K8sAzureV1HostileLabel"
TEMPLATE = f"{TEMPLATES}/{KIND.lower()}"
LEVELS = 3000
DEEP = '{"a":' * LEVELS + "1" + "}" * LEVELS
# A mutator of somebody's, whose value Gatekeeper takes whatever it is.
STRANGER = f"""{{
  "apiVersion": "mutations.gatekeeper.sh/v1", "kind": "Assign", "metadata": {{"name": "deep"}},
  "spec": {{
    "applyTo": [{{"groups": [""], "kinds": ["ConfigMap"], "versions": ["v1"]}}],
    "location": "spec.nowhere",
    "parameters": {{"assign": {{"value": {DEEP}}}}}
  }}
}}"""
UNREADABLE = f"is nested deeper than {DEEPEST} levels: what is deeper is not read"


@pytest.fixture
def azpolicy(tidy: TestCluster, tmp_path: Path) -> Azpolicy:
    """A template and two constraints of it, enforced."""
    bundle, snapshot = TemplateFolder(tmp_path / "templates"), Snapshot(tmp_path / "snapshot")
    definition = snapshot.define("hostile", bundle.write("hostile-label/v1", KIND))
    for name in ("one", "two"):
        snapshot.assign(name, definition, labels=[name])
    command = Azpolicy(tidy, snapshot.folder, user="hostile-operator", templates=bundle.folder)
    assert command.apply().code == 0
    return command


@pytest.fixture
def stranger(tidy: TestCluster) -> Iterator[None]:
    """The mutator, while a test may list none of its kind itself: reading it ends Python's own reader."""
    tidy.kubectl("create", "--validate=false", "-f", "-", input=STRANGER)
    yield
    assert tidy.request("DELETE", f"{MUTATORS}/assign/deep")[0] == 200


def paths(azpolicy: Azpolicy) -> list[str]:
    """The constraints."""
    return [f"{CONSTRAINTS}/{KIND.lower()}/{name}" for name in sorted(constraints_of(azpolicy.cluster, KIND))]


def at_work(azpolicy: Azpolicy, operator: Operator, path: str) -> None:
    """It syncs, it repairs at once, and what it keeps is enforced."""
    cluster = azpolicy.cluster
    operator.wait_syncs()
    edit(cluster, path, lambda live: live["spec"].update(enforcementAction="dryrun"))
    restored = lambda: cluster.get(path)["spec"]["enforcementAction"] == "deny"  # noqa: E731
    eventually(restored, timeout=10, what=f"{path} to be restored")
    denied = lambda: all(refusal(cluster, pod(**{label: "yes"})) for label in ("one", "two"))  # noqa: E731
    eventually(denied, what="pods to be refused")
    assert operator.code is None, operator.text


@pytest.mark.usefixtures("stranger")
def test_a_stranger_nested_without_end_ends_no_operator_that_starts(azpolicy: Azpolicy) -> None:
    with azpolicy.operating("--resync", "1") as operator:
        operator.wait_log(f"Assign/deep {UNREADABLE}")
        at_work(azpolicy, operator, paths(azpolicy)[0])


def test_a_stranger_nested_without_end_ends_no_operator_that_watches(
    azpolicy: Azpolicy, request: pytest.FixtureRequest
) -> None:
    with azpolicy.operating("--resync", "1") as operator:
        operator.wait_syncs()
        request.getfixturevalue("stranger")
        operator.wait_log(f"Assign/deep {UNREADABLE}")
        at_work(azpolicy, operator, paths(azpolicy)[0])


def test_an_edit_nested_without_end_is_drift_and_repaired(azpolicy: Azpolicy) -> None:
    cluster = azpolicy.cluster
    before = cluster.get(TEMPLATE)["spec"]
    schema = f'{{"type": "object", "x-kubernetes-preserve-unknown-fields": true, "default": {DEEP}}}'
    names = f'{{"spec": {{"crd": {{"spec": {{"validation": {{"openAPIV3Schema": {schema}}}}}}}}}}}'
    with azpolicy.operating("--resync", "1") as operator:
        cluster.kubectl("patch", "constrainttemplate", KIND.lower(), "--type=merge", "-p", names)

        operator.wait_log(f"ConstraintTemplate/{KIND.lower()} {UNREADABLE}")
        operator.wait_log(f"replaced ConstraintTemplate/{KIND.lower()} cause=drift")
        eventually(lambda: cluster.get(TEMPLATE)["spec"] == before, what="the template to be restored")
        at_work(azpolicy, operator, paths(azpolicy)[0])


@pytest.mark.parametrize("status", ["x", 7, ["x"], {"byPod": "x", "violations": 7, "auditTimestamp": []}], ids=repr)
def test_a_status_of_any_type_ends_no_operator(azpolicy: Azpolicy, status: Any) -> None:
    cluster, (one, two) = azpolicy.cluster, paths(azpolicy)
    with azpolicy.operating("--resync", "1") as operator:
        code, answer = cluster.request("PATCH", f"{one}/status", {"status": status})
        if code != 200:
            pytest.skip(f"the API server does not take it: {answer}")

        at_work(azpolicy, operator, two)
    # As it stands now, another one starts.
    cluster.request("PATCH", f"{one}/status", {"status": status})
    with azpolicy.operating("--resync", "1") as operator:
        at_work(azpolicy, operator, two)
