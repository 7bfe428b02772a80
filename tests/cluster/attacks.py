"""Hostile deeds on the real cluster, as an admin with other intentions does them: each is one or two requests.

The API server refuses what a schema or an admission webhook does not take; what it takes is an attack.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from controller.bounded_json import DEEPEST
from tests.cluster.azpolicy import CONSTRAINTS, EXPANSIONS, MUTATORS, TEMPLATES, managed
from tests.cluster.harness import eventually

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from tests.cluster.harness import TestCluster

FORGED: Final = "forged-by-somebody"
_WORDS: Final = ("", "x", "deny", "dryrun", "*", "é" * 40, "\u200b", "0")
_STATUSES: Final[tuple[Any, ...]] = (
    "x",
    7,
    ["x"],
    {},
    {"byPod": "x"},
    {"byPod": [7], "violations": 7, "auditTimestamp": []},
)
_POISON: Final = (
    "/subscriptions/00000000-0000-0000-0000-0000000000ff/providers/Microsoft.Authorization/policyAssignments/other",
    "[]",
    "/" * 300,
    "/a?b#c%00",
    "no id",
)


class Attacks:
    """Deeds at random against the objects that are the operator's; `counted` is what the API server took of each."""

    def __init__(self, cluster: TestCluster, chance: random.Random) -> None:
        self._cluster, self._chance = cluster, chance
        self.counted: Counter[str] = Counter()
        self._deeds: Sequence[tuple[Callable[[], bool], int]] = (
            (self.put_anything, 30),
            (self.take_a_field_away, 10),
            (self.forge_marks, 8),
            (self.strip_marks, 6),
            (self.strip_everything, 6),
            (self.hold, 8),
            (self.delete_held, 10),
            (self.replace, 6),
            (self.break_status, 8),
            (self.forge, 4),
            (self.deep_stranger, 2),
        )

    def one(self) -> None:
        """One deed, whatever the API server makes of it."""
        deeds, weights = zip(*self._deeds, strict=True)
        [deed] = self._chance.choices(deeds, weights)
        self._do(deed)

    def each(self) -> None:
        """Those that chance left out."""
        for deed, _ in self._deeds:
            if not self.counted[deed.__name__]:
                eventually(partial(self._do, deed), timeout=30, what=deed.__name__)

    def withdraw(self) -> None:
        """Takes away what merely bears our marks."""
        for path in managed(self._cluster):
            if path.rpartition("/")[2].startswith(FORGED) or "/azurepolicy-forged-" in path:
                self._cluster.request("DELETE", path)

    def _do(self, deed: Callable[[], bool]) -> bool:
        taken = deed()
        self.counted[deed.__name__] += taken
        return taken

    def _path(self, *, named: bool = False) -> str:
        """One of the operator's, empty where there is none; `named` are those whose names alone make them its own."""
        found = eventually(lambda: managed(self._cluster), timeout=60, what="the objects to be listed")
        ours = [path for path in found if "/azurepolicy-" in path and "/azurepolicy-forged-" not in path]
        if not named:
            kinds = {path.split("/")[-2] for path in ours if path.startswith(CONSTRAINTS)}
            ours += [f"{TEMPLATES}/{kind}" for kind in sorted(kinds)]
            ours += [path for path in found if path.endswith("/syncsets/azure-policy-sync")]
            ours += [path for path in found if path.startswith(f"{EXPANSIONS}/azpolicy-")]
        return self._chance.choice(sorted(ours)) if ours else ""

    def _ask(self, method: str, path: str, body: Any = None) -> bool:
        return bool(path) and self._cluster.request(method, path, body)[0] in (200, 201, 202)

    def _put(self, path: str, change: Callable[[dict[str, Any]], object]) -> bool:
        status, live = self._cluster.request("GET", path) if path else (404, {})
        if status != 200:
            return False
        change(live)
        return self._ask("PUT", f"{path}?fieldManager=kubectl-edit", live)

    def _value(self, depth: int = 2) -> Any:
        match self._chance.randrange(6):
            case 0:
                return self._chance.choice([None, True, 0, -1, 1.5, 2**40])
            case 1 if depth:
                return {self._chance.choice(_WORDS[1:4]): self._value(depth - 1) for _ in range(2)}
            case 2 if depth:
                return [self._value(depth - 1) for _ in range(self._chance.randrange(3))]
        return self._chance.choice(_WORDS)

    def _holder(self, live: dict[str, Any]) -> dict[str, Any]:
        """One of the objects within a spec."""
        found, pending = [], [live.get("spec")]
        while pending:
            each = pending.pop()
            if isinstance(each, dict):
                found.append(each)
                pending.extend(each.values())
            elif isinstance(each, list):
                pending.extend(each)
        return self._chance.choice(found) if found else live.setdefault("spec", {})

    # --- the deeds

    def put_anything(self) -> bool:
        """Any field of the spec, or a new one, gets any value."""

        def change(live: dict[str, Any]) -> None:
            holder = self._holder(live)
            holder[self._chance.choice([*holder, "theirs"])] = self._value()

        return self._put(self._path(), change)

    def take_a_field_away(self) -> bool:
        """Any field of the spec."""

        def change(live: dict[str, Any]) -> None:
            holder = self._holder(live)
            if holder:
                del holder[self._chance.choice(sorted(holder))]

        return self._put(self._path(), change)

    def forge_marks(self) -> bool:
        """Labels and annotations that name another owner, or another assignment."""
        marks = {"labels": {"managed-by": "somebody"}, "annotations": {"azure-policy-assignment-id": "/forged"}}
        return self._ask("PATCH", self._path(), {"metadata": marks})

    def strip_marks(self) -> bool:
        """No labels, no annotations."""
        return self._put(self._path(), lambda live: live["metadata"].update(labels={}, annotations={}))

    def strip_everything(self) -> bool:
        """And no record of who wrote what."""
        bare: dict[str, Any] = {"labels": {}, "annotations": {}, "managedFields": [{}]}
        return self._put(self._path(named=True), lambda live: live["metadata"].update(bare))

    def hold(self) -> bool:
        """A finalizer; or an owner that is not there, for which the garbage collector deletes the object.

        Not of a template: that would take constraints of others along, which is the attacker's deed.
        """
        owner = {"apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": "0"}
        if self._chance.random() < 0.5:
            return self._ask("PATCH", self._path(named=True), {"metadata": {"ownerReferences": [owner]}})
        return self._ask("PATCH", self._path(), {"metadata": {"finalizers": ["example.com/hold"]}})

    def delete_held(self) -> bool:
        """A finalizer, then the deletion: Gatekeeper drops it at once."""
        path = self._path(named=True)
        return self._ask("PATCH", path, {"metadata": {"finalizers": ["example.com/hold"]}}) and self._ask(
            "DELETE", path
        )

    def replace(self) -> bool:
        """Deleted, and one of the same name made that does nothing."""
        path = self._path(named=True)
        status, live = self._cluster.request("GET", path) if path else (404, {})
        if status != 200 or not self._ask("DELETE", path):
            return False
        spec = {**live["spec"], "enforcementAction": "dryrun"} if path.startswith(CONSTRAINTS) else live["spec"]
        made = {**{key: live[key] for key in ("apiVersion", "kind")}, "metadata": {"name": live["metadata"]["name"]}}
        self._ask("POST", path.rpartition("/")[0], {**made, "spec": spec})
        return True

    def break_status(self) -> bool:
        """A status of any type."""
        path = self._path()
        return self._ask("PATCH", f"{path}/status" if path else "", {"status": self._chance.choice(_STATUSES)})

    def forge(self) -> bool:
        """A mutator that bears our label, and the id of an assignment that is none."""
        name = self._chance.choice([FORGED, f"azurepolicy-forged-{self._chance.randrange(16**20):020x}"])
        marks = {"labels": {"managed-by": "azure-policy-sync"}}
        metadata = {"name": name, **marks, "annotations": {"azure-policy-assignment-id": self._chance.choice(_POISON)}}
        return self._mutator(metadata, "x")

    def deep_stranger(self) -> bool:
        """Somebody's own mutator, with a value that is nested deeper than azpolicy reads."""
        value: Any = 1
        for _ in range(DEEPEST + 50):
            value = {"a": value}
        return self._mutator({"name": f"somebodys-{self._chance.randrange(10**6)}"}, value)

    def _mutator(self, metadata: dict[str, Any], value: Any) -> bool:
        spec = {
            "applyTo": [{"groups": [""], "kinds": ["ConfigMap"], "versions": ["v1"]}],
            "location": "spec.nowhere",
            "parameters": {"assign": {"value": value}},
        }
        head = {"apiVersion": "mutations.gatekeeper.sh/v1", "kind": "Assign"}
        return self._ask("POST", f"{MUTATORS}/assign", {**head, "metadata": metadata, "spec": spec})
