"""Everything at once, for some minutes: hostile deeds, Azure changing and failing, servers and leaders that die.

Seeded: AZPOLICY_SOAK_SEED repeats a run, AZPOLICY_SOAK_SECONDS makes it longer. At the end the cluster is exactly as
Azure says, nothing foreign was touched, and the audit log has no write of the operator that nobody gave it a reason to.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import re
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.gatekeeper.naming import name_digits
from tests.azure.faults import FaultKind
from tests.azure.standin import Standin
from tests.cluster.attacks import Attacks
from tests.cluster.azpolicy import CONSTRAINTS, MUTATORS, TEMPLATES, managed, projection, wipe
from tests.cluster.deployed import KIND, Deployed
from tests.cluster.harness import TestCluster, eventually
from tests.cluster.test_azure import FromAzure
from tests.snapshots import CLUSTER_ID, template_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cluster.azpolicy import Operator
    from tests.cluster.harness import AuditEvent

SECONDS: Final = float(os.environ.get("AZPOLICY_SOAK_SECONDS", "120"))
SEED: Final = int(os.environ.get("AZPOLICY_SOAK_SEED", "20261127"))
OTHER: Final = "K8sAzureV1SoakedOther"
GROUPS: Final = frozenset({"templates.gatekeeper.sh", "constraints.gatekeeper.sh", "mutations.gatekeeper.sh"})
GATEKEEPER: Final = "system:serviceaccount:gatekeeper-system:gatekeeper-admin"
NUDGES: Final = re.compile(r"nudged Gatekeeper: no status for [^/ ]+/([^: ]+)")
EVER: Final = 1_000_000
NAMES: Final = tuple(f"soaked-{number}" for number in range(12))


class Soak:
    """The world that is shaken, and what was done to it."""

    def __init__(self, deployed: Deployed, stack: contextlib.ExitStack) -> None:
        self.deployed, self.cluster, self.random = deployed, deployed.cluster, random.Random(SEED)
        self._stack = stack
        self.attacks = Attacks(deployed.cluster, self.random)
        self._started: list[Operator] = []
        self.done: Counter[str] = Counter()
        self.azure: Counter[str] = Counter()  # deeds in Azure by the digits of the objects that follow from them
        other = deployed.snapshot.define("other", deployed.bundle.write("soaked-other/v1", OTHER))
        gives = deployed.snapshot.define(
            "gives", deployed.bundle.write_mutation("soaked-gives/v1", "soakedgives", "given")
        )
        deployed.snapshot.assign("other", other, labels=["other"])
        deployed.snapshot.assign("gives", gives, effect="mutate")
        deployed.publish()
        for name in NAMES[:6]:
            deployed.assign(name)
        self.operators = [self._replica(), self._replica()]

    def _replica(self) -> Operator:
        made = self._stack.enter_context(self.deployed.replica(f"azpolicy-{len(self._started) + 1}"))
        self._started.append(made)
        return made

    def asked(self) -> Counter[str]:
        """How often Gatekeeper was asked again, by the name of the object that it said nothing of."""
        found = (NUDGES.findall(each.text) for each in self._started)
        return Counter(itertools.chain.from_iterable(found))

    # --- deeds in the cluster

    def live(self) -> str:
        """The path of one of the constraints and mutators that are there; empty where there is none."""
        # An API server that was just started may not answer for each kind at once.
        found = eventually(lambda: managed(self.cluster), timeout=60, what="the objects to be listed")
        paths = [path for path in found if "azurepolicy-" in path]
        return self.random.choice(sorted(paths)) if paths else ""

    def edit(self) -> None:
        change: dict[str, Any] = self.random.choice(
            [
                {"spec": {"enforcementAction": "dryrun"}},
                {"spec": {"match": {"excludedNamespaces": ["*"]}}},
                {"metadata": {"labels": {"managed-by": None}}},
                {"metadata": {"labels": {"managed-by": "somebody"}, "annotations": {"constraint-installed-by": None}}},
                {"metadata": {"annotations": {"azure-policy-assignment-id": "/forged"}}},
                {"metadata": {"labels": {"somebodys-own": "label"}}},
            ]
        )
        if path := self.live():
            self.cluster.request("PATCH", path, change)

    def delete(self) -> None:
        if path := self.live():
            self.cluster.request("DELETE", path)

    def attack(self) -> None:
        self.attacks.one()

    def weaken_template(self) -> None:
        self.cluster.request("PATCH", f"{TEMPLATES}/{KIND.lower()}", {"spec": {"targets": None}})
        rule = json.loads(template_text(KIND, 'violation[{"msg": "never"}] { false }'))["spec"]
        self.cluster.request("PATCH", f"{TEMPLATES}/{KIND.lower()}", {"spec": rule})

    def delete_template(self) -> None:
        self.cluster.request("DELETE", f"{TEMPLATES}/{KIND.lower()}")

    def delete_all_of_a_kind(self) -> None:
        self.cluster.request("DELETE", f"{CONSTRAINTS}/{KIND.lower()}")

    # --- deeds in Azure

    def change_azure(self) -> None:
        name = self.random.choice(NAMES)
        there = (self.deployed.snapshot.folder / f"assignment-{name}.json").exists()
        assignment_id = self.deployed.assign(name, labels=[f"x{self.random.randrange(9)}"])
        if there and self.random.random() < 0.4:
            self.deployed.unassign(name)
        self.azure[name_digits(assignment_id, "", self.deployed.label)] += 1

    def fail_azure(self) -> None:
        kinds = [FaultKind.THROTTLED, FaultKind.SERVER_ERROR, FaultKind.FORBIDDEN, FaultKind.CUT, FaultKind.TRUNCATED]
        self.deployed.arm.fail(self.random.choice(kinds), ".", times=self.random.choice([1, 5, EVER]), wait=0.5)

    def heal_azure(self) -> None:
        self.deployed.arm.heal()

    # --- deeds to servers

    def restart_apiserver(self) -> None:
        self.cluster.restart_apiserver()

    def restart_gatekeeper(self) -> None:
        self.cluster.stop_gatekeeper()
        self.cluster.start_gatekeeper()

    def kill_leader(self) -> None:
        leads = [each for each in self.operators if each.metric("azpolicy_leader")]
        for leader in leads:
            leader.kill()
            self.operators.remove(leader)
            self.operators.append(self._replica())

    # --- all of it

    def shake(self, seconds: float) -> None:
        """One deed after another, most of them in the cluster; seldom ones are those that take seconds."""
        deeds: list[tuple[Callable[[], None], int]] = [
            (self.edit, 40),
            (self.attack, 40),
            (self.delete, 15),
            (self.delete_all_of_a_kind, 2),
            (self.weaken_template, 5),
            (self.delete_template, 3),
            (self.change_azure, 20),
            (self.fail_azure, 4),
            (self.heal_azure, 6),
            (self.restart_apiserver, 1),
            (self.restart_gatekeeper, 1),
            (self.kill_leader, 1),
        ]
        chosen, weights = zip(*deeds, strict=True)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            [deed] = self.random.choices(chosen, weights)
            deed()
            self.done[deed.__name__] += 1
        # What chance left out is done all the same: each once at least.
        for deed in chosen:
            if not self.done[deed.__name__]:
                deed()
                self.done[deed.__name__] += 1
        self.attacks.each()
        self.attacks.withdraw()
        self.heal_azure()


def foreign(cluster: TestCluster) -> dict[str, dict[str, Any]]:
    """Somebody's own template with a constraint, a mutator, and a constraint of a kind of ours, as they are."""
    own = {"apiVersion": "constraints.gatekeeper.sh/v1beta1", "metadata": {"name": "somebodys-own"}}
    made: dict[str, dict[str, Any]] = {
        TEMPLATES: json.loads(template_text("K8sSomebodys")),
        f"{MUTATORS}/assignmetadata": {
            "apiVersion": "mutations.gatekeeper.sh/v1",
            "kind": "AssignMetadata",
            "metadata": {"name": "somebodys-own"},
            "spec": {"location": "metadata.labels.theirs", "parameters": {"assign": {"value": "x"}}},
        },
        f"{CONSTRAINTS}/k8ssomebodys": {**own, "kind": "K8sSomebodys", "spec": {"enforcementAction": "dryrun"}},
        f"{CONSTRAINTS}/{OTHER.lower()}": {**own, "kind": OTHER, "spec": {"enforcementAction": "dryrun"}},
    }
    for collection, manifest in made.items():
        create = lambda c=collection, m=manifest: cluster.request("POST", c, m)[0] in {201, 409}  # noqa: E731
        eventually(create, timeout=60, what=f"a foreign object in {collection}")
    paths = [f"{collection}/{manifest['metadata']['name']}" for collection, manifest in made.items()]
    return {path: projection(cluster.get(path)) for path in paths}


@pytest.fixture
def soak(cluster: TestCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Soak]:
    with cluster.audited_every(5), Standin() as arm, contextlib.ExitStack() as stack:
        deployed = Deployed(cluster, arm, tmp_path_factory.mktemp("soak"))
        yield Soak(deployed, stack)
        stack.close()
        deployed.release.remove()
        wipe(cluster)


@pytest.mark.timeout(SECONDS + 600)
def test_after_all_of_it_the_cluster_is_as_azure_says_and_no_write_was_without_cause(soak: Soak) -> None:
    deployed, cluster = soak.deployed, soak.cluster
    deployed.wait_in_sync()
    theirs = foreign(cluster)
    mark = cluster.audit_mark()

    soak.shake(SECONDS)
    found = deployed.wait_in_sync(timeout=240)

    print(f"\nseed {SEED}: {dict(sorted(soak.done.items()))} {dict(sorted(soak.attacks.counted.items()))}")
    assert {path: projection(cluster.get(path)) for path in theirs} == theirs
    assigned = {file.stem.removeprefix("assignment-") for file in deployed.snapshot.folder.glob("assignment-*.json")}
    assert deployed.made() == assigned - {"gives"}
    assert _planned(deployed) == {}
    events = list(cluster.audit_events(mark))
    assert _without_cause(events, soak) == {}

    operator = next(each for each in soak.operators if each.metric("azpolicy_leader"))
    cluster.wait_for_audit()  # the first audit of what was made anew is news
    operator.wait_syncs(2)
    quiet = cluster.audit_mark()
    operator.wait_syncs(3)
    assert [event for event in deployed.writes(quiet) if event.group != "events.k8s.io"] == []
    assert managed(cluster) == found


def _planned(deployed: Deployed) -> dict[str, str]:
    """What a plan from the same Azure still wants to change."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in deployed.arm.environ.items():
            environment.setenv(name, value)
        options = ["--templates", str(deployed.bundle.folder), "--exclude-namespace", deployed.release.namespace]
        ended = FromAzure(deployed.cluster, deployed.arm, user="planner", of=CLUSTER_ID, options=options).plan()
    assert ended.code in (0, 1), ended.err
    return ended.changes()


def _without_cause(events: list[AuditEvent], soak: Soak) -> dict[str, tuple[int, int]]:
    """Objects that the operator wrote more often than somebody gave it a reason to: writes and reasons."""
    writes = [e for e in events if e.is_write and e.code < 300 and not e.dry_run and e.group in GROUPS]
    ours = Counter(f"{e.resource}/{e.name}" for e in writes if e.user == soak.deployed.user)
    own = [e for e in writes if e.user not in (soak.deployed.user, GATEKEEPER) and not e.subresource]
    causes = Counter(f"{e.resource}/{e.name}" for e in own if e.name)
    kinds = Counter(e.resource for e in own if not e.name)
    # With its template a kind goes, and all that is of it.
    templates = Counter(e.name for e in own if e.resource == "constrainttemplates" and e.verb == "delete")
    asked = soak.asked()
    found: dict[str, tuple[int, int]] = {}
    for path, count in ours.items():
        resource, _, name = path.partition("/")
        reasons = causes[path] + kinds[resource] + templates[resource] + soak.azure[name.rpartition("-")[2]]
        reasons += asked[name] * 2  # an annotation comes and goes
        if resource == "constrainttemplates":
            reasons += sum(soak.azure.values())
        if count > reasons:
            found[path] = (count, reasons)
    return found
