"""Hostile deeds at random on the real cluster: then all is as desired, and nothing else was touched.

AZPOLICY_FUZZ_SECONDS makes it longer (30 s by default, then each deed that chance left out), AZPOLICY_FUZZ_SEED repeats
a run. tests/cluster/test_soak.py has the same deeds for longer; here they meet a SyncSet, and nothing else happens.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.cluster.attacks import Attacks
from tests.cluster.azpolicy import Azpolicy, managed, pod, refusal
from tests.cluster.harness import eventually
from tests.snapshots import STORE, Snapshot, TemplateFolder, template_text

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.harness import TestCluster

SECONDS: Final = float(os.environ.get("AZPOLICY_FUZZ_SECONDS", "30"))
SEED: Final = int(os.environ.get("AZPOLICY_FUZZ_SEED", "20261128"))
KIND: Final = "K8sAzureV1FuzzedLabel"
LOOKS_UP: Final = "K8sAzureV1FuzzedData"
NAMES: Final = tuple(f"fuzzed{number}" for number in range(6))


@pytest.fixture
def azpolicy(tidy: TestCluster, tmp_path: Path) -> Azpolicy:
    """Two templates, one of which needs a SyncSet, constraints of both, one for expanded pods too, and mutators."""
    bundle, snapshot = TemplateFolder(tmp_path / "templates"), Snapshot(tmp_path / "snapshot")
    label = snapshot.define("label", bundle.write("fuzzed-label/v1", KIND))
    for name in NAMES:
        snapshot.assign(name, label, labels=[name])
    needs = '"annotations": {"metadata.gatekeeper.sh/requires-sync-data": "[[{\\"groups\\": [\\"\\"], \\"versions\\": [\\"v1\\"], \\"kinds\\": [\\"Service\\"]}]]"}, "name"'  # noqa: E501
    data = bundle.folder / "fuzzed-data" / "v1" / "template.yaml"
    data.parent.mkdir(parents=True)
    data.write_text(template_text(LOOKS_UP).replace('"name"', needs, 1))
    looking = snapshot.define("data", f"{STORE}/fuzzed-data/v1/template.yaml", source="All")
    snapshot.assign("data", looking, labels=["data"])
    gives = snapshot.define("gives", bundle.write_mutation("fuzzed-gives/v1", "fuzzedgives", "given"))
    for name in ("gives", "gives-too"):
        snapshot.assign(name, gives, effect="mutate")
    command = Azpolicy(tidy, snapshot.folder, user="fuzzed-operator", templates=bundle.folder)
    assert command.apply().code == 0
    return command


def desired_part(cluster: TestCluster) -> dict[str, Any]:
    """All that is managed, without labels of others: a mutator that somebody loosened gives its own to anything."""
    found = {path: live for path, live in managed(cluster).items() if "/somebodys-" not in path}
    for live in found.values():
        labels = live["metadata"].get("labels", {})
        live["metadata"]["labels"] = {key: text for key, text in labels.items() if key == "managed-by"}
    return found


@pytest.mark.timeout(SECONDS + 600)
def test_after_hostile_deeds_at_random_all_is_as_desired_and_nothing_else_was_touched(azpolicy: Azpolicy) -> None:
    cluster = azpolicy.cluster
    attacks = Attacks(cluster, random.Random(SEED))
    wanted = desired_part(cluster)
    assert all(any(kind in path for path in wanted) for kind in ("syncsets", "expansiontemplate"))
    with azpolicy.operating("--resync", "5") as operator:
        operator.wait_syncs()
        mark = cluster.audit_mark()
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            attacks.one()
        attacks.each()
        attacks.withdraw()

        with contextlib.suppress(AssertionError):
            eventually(lambda: desired_part(cluster) == wanted, timeout=120)
        found = desired_part(cluster)
        print(f"\nseed {SEED}: {dict(sorted(attacks.counted.items()))}")
        differ = {path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path)}
        assert differ == set(), [(wanted.get(path), found.get(path)) for path in differ]
        assert operator.code is None, operator.text
        touched = [each.name for each in azpolicy.writes(mark) if each.name.startswith("somebodys-")]
        assert touched == []
        # Not by what Gatekeeper says: where somebody overwrote a constraint's status and nothing else changed after
        # that, 3.23.1 does not write its word anew, nudged or not, and denies all the same.
        denied = lambda: all(refusal(cluster, pod(**{name: "yes"})) for name in (*NAMES, "data"))  # noqa: E731
        eventually(denied, timeout=60, what="pods to be refused")
    assert azpolicy.plan().changes() == {}
