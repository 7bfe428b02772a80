"""A fuzzer of the operator: hostile deeds in the cluster and in Azure at random, in virtual time.

A case is one deed. Cases come in rounds: an operator starts, the deeds of a round follow each other within seconds,
then it is quiet, and everything must be as Azure says, exactly. The process must not have ended, and nothing of
somebody else's may have been written. The same seed gives the same deeds; a round that fails is cut down to the deeds
that it takes. `python -m tests.unit.operator.fuzz --count 100000 --seed 7` runs as many cases as one likes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import copy
import json
import logging
import random
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from controller.bounded_json import CUT, DEEPEST
from controller.cluster.health import MUTATING_PATH, WEBHOOK_PATH
from controller.cluster.kinds import EXPANSION, HOLDS, MUTATORS, SYNCSET, TEMPLATE, constraint_kind, kind_of
from controller.errors import ClusterError, InputError, SourceError
from controller.gatekeeper.documents import DocumentError, Origin
from controller.gatekeeper.naming import (
    ASSIGNMENT_ID,
    AZPOLICY_GROUP,
    CONSTRAINT_GROUP,
    CONSTRAINT_INSTALLED_BY,
    MANAGED_BY_LABEL,
    MUTATION_GROUP,
    TEMPLATE_GROUP,
    TEMPLATE_INSTALLED_BY,
    owned_key,
)
from controller.gatekeeper.sources import TemplateSources
from controller.gatekeeper.syncset import ANNOTATION
from controller.operator.settings import PolicySyncRequests
from controller.source import NoCluster, Source
from tests.unit.azure_builders import (
    CLUSTER_ID,
    INVISIBLE,
    assignment_id,
    definition_id,
    initiative_id,
    make_assignment,
    make_cluster,
    make_definition,
    make_details,
    make_exemption,
    make_initiative,
    make_reference,
    make_state,
    places,
    put,
)
from tests.unit.cluster_builders import MARKS
from tests.unit.fake_api import BAD_REGO, FakeApi, status
from tests.unit.operator.scripted import SETTINGS, SOURCE, Operator, ScriptedSource, cluster
from tests.unit.virtual_time import clock, in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from controller.azure.model import AzureState
    from controller.cluster.client import Response
    from controller.gatekeeper.documents import Document
    from controller.gatekeeper.model import DesiredObject
    from controller.gatekeeper.sources import Check
    from controller.jsontypes import Json
    from controller.source import InCluster

SEED: Final = 20261128
ROUND: Final = 100
PATIENCE: Final = 450.0  # seconds of quiet until all must be as desired: polls, resyncs, fights and nudges have passed
PROMPT: Final = 20.0  # seconds in which an edit is undone, although there was a fight over the object
LOOK: Final = 10.0

# --- what Azure says -------------------------------------------------------------------------------------------------


def _template(kind: str, **annotations: str) -> str:
    metadata = {"name": kind.lower(), "annotations": annotations}
    targets = [
        {"target": "admission.k8s.gatekeeper.sh", "rego": f"package {kind.lower()}\n\nviolation[x] {{ x := 1 }}"}
    ]
    spec = {"crd": {"spec": {"names": {"kind": kind}}}, "targets": targets}
    return json.dumps(
        {"apiVersion": f"{TEMPLATE_GROUP}/v1", "kind": "ConstraintTemplate", "metadata": metadata} | {"spec": spec}
    )


_MUTATION: Final = json.dumps(
    {
        "apiVersion": f"{MUTATION_GROUP}/v1",
        "kind": "Assign",
        "metadata": {"name": "gives"},
        "spec": {
            "applyTo": [{"groups": [""], "kinds": ["Pod"], "versions": ["v1"]}],
            "location": "spec.hostPID",
            "parameters": {"assign": {"value": False}},
        },
    }
)
_PODS: Final = json.dumps([[{"groups": [""], "versions": ["v1"], "kinds": ["Pod"]}]])
_TEXTS: Final = {
    "no-root": _template("K8sNoRoot"),
    "no-twins": _template("K8sNoTwins", **{ANNOTATION: _PODS}),
    "gives": _MUTATION,
}
_STORE: Final = "https://store.policy.core.windows.net/kubernetes"


class _Templates:
    """A bundle in memory."""

    origin = Origin.BUNDLE

    def opened(self) -> contextlib.AbstractAsyncContextManager[object]:
        return contextlib.nullcontext()

    async def read(self, url: str, check: Check) -> Document:
        name = url.removeprefix(f"{_STORE}/").partition("/")[0]
        if name not in _TEXTS:
            raise DocumentError("there is no such document")
        return await check(_TEXTS[name].encode())


def _public(name: str, document: str) -> Json:
    return {"sourceType": "PublicURL", "url": f"{_STORE}/{name}/v1/{document}.yaml"}


DOCUMENTS: Final[tuple[dict[str, Json], ...]] = (
    make_cluster(),
    make_definition("no-root", details=make_details(templateInfo=_public("no-root", "template"))),
    make_definition("no-twins", details=make_details(templateInfo=_public("no-twins", "template"), source="All")),
    make_definition("gives", effect="Mutate", details={"mutationInfo": _public("gives", "mutation")}),
    make_initiative(make_reference("one"), make_reference("two", definition_id("no-twins"))),
    *(make_assignment(f"root{number}", effect="Deny") for number in range(6)),
    *(make_assignment(f"twins{number}", of=definition_id("no-twins"), effect="Audit") for number in range(3)),
    *(make_assignment(f"gives{number}", of=definition_id("gives")) for number in range(2)),
    make_assignment("set", of=initiative_id()),
    make_exemption("e", of=assignment_id("root5"), expiresOn="2030-01-01T00:00:00Z"),
)
_GOOD: Final = make_state(*DOCUMENTS)


@dataclass
class _Azure:
    """Says what it is told to."""

    answer: AzureState | Exception = _GOOD
    figures: dict[str, float] = field(default_factory=dict)

    async def read(self, cluster: InCluster) -> AzureState:
        await cluster.in_use()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def changed(self) -> bool:
        return False


_OPTIONS: Final = replace(SOURCE, cluster_id=CLUSTER_ID)


@dataclass(frozen=True, slots=True)
class _Held:
    """A source, as the scripted operator takes it."""

    source: Source


# --- values ----------------------------------------------------------------------------------------------------------

_WORDS: Final = (
    "",
    "x",
    "deny",
    "dryrun",
    "spec",
    "K8sNoRoot",
    "azure-policy-sync",
    "0",
    "é" * 50,
    CUT,
    BAD_REGO,
    *INVISIBLE,
)
_KEYS: Final = ("name", "kind", "kinds", "match", "byPod", "errors", "parameters", "", "a.b/c", "é", CUT)
_LABELS: Final = (MANAGED_BY_LABEL, "theirs", "app.kubernetes.io/name")
_ANNOTATIONS: Final = (
    ASSIGNMENT_ID,
    "azure-policy-definition-id-1",
    CONSTRAINT_INSTALLED_BY,
    TEMPLATE_INSTALLED_BY,
    "azpolicy.dev/template-digest",
    "azpolicy.dev/rejected-digest",
    ANNOTATION,
    "theirs",
)
_FORGED: Final = (MARKS.managed_by, "somebody", "", "/subscriptions/s", "[" * 40, "/x/policyAssignments/y", "[]")


def value(chance: random.Random, depth: int = 3) -> Json:
    """Anything that JSON can say; some of it as deep as is read at all, or large."""
    match chance.randrange(12):
        case 0 | 1:
            return chance.choice(_WORDS)
        case 2:
            return chance.choice([None, True, False, 0, -1, 2**63, 1.5])
        case 3 | 4 | 5 | 6 if depth:
            return {chance.choice(_KEYS): value(chance, depth - 1) for _ in range(chance.randrange(4))}
        case 7 | 8 | 9 if depth:
            return [value(chance, depth - 1) for _ in range(chance.randrange(4))]
        case 10:
            deep: Json = 1
            for level in range(chance.choice([90, DEEPEST - 10])):
                deep = [deep] if level % 2 else {"a": deep}
            return deep
        case 11:
            return "x" * chance.choice([1, 5000])
    return 7


def texts(chance: random.Random, keys: Sequence[str]) -> dict[str, Json]:
    """Labels or annotations, ours forged among them."""
    return {chance.choice(keys): chance.choice(_FORGED) for _ in range(chance.randrange(4))}


# --- the world -------------------------------------------------------------------------------------------------------


class WatchedApi(FakeApi):
    """Notes each write of the operator that touches an object of somebody else's."""

    def __init__(self) -> None:
        super().__init__()
        self.strangers: set[str] = set()
        self.touched: list[str] = []
        self.slow: list[float] = []
        self.objects = self._objects
        for path in (WEBHOOK_PATH, MUTATING_PATH):
            self.place(path, cluster().read(path))

    async def _once(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None, *, by_metadata: bool
    ) -> Response:
        if self.slow:
            await asyncio.sleep(self.slow.pop())
        if method != "GET" and "dryRun" not in query:
            of = path.removesuffix("/status")
            made = f"{of}/{body['metadata']['name']}" if method == "POST" and body else of
            if {of, made} & self.strangers:
                self.touched.append(f"{method} {path}")
            template = f"/{CONSTRAINT_GROUP}/v1beta1/{of.rpartition('/')[2]}/"
            if (
                method == "DELETE"
                and TEMPLATE_GROUP in of
                and any(template in each for each in self.strangers & self.paths)
            ):
                self.touched.append(f"{method} {path}, with constraints of somebody else's")
        return await super()._once(method, path, query, body, by_metadata=by_metadata)

    def appear(self, path: str, manifest: Mapping[str, Any]) -> None:
        """Somebody makes an object, which Gatekeeper takes up."""
        self.place(path, manifest)
        self._written(path)

    def change(self, path: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Somebody changes an object, which Gatekeeper does not take up, or not yet."""
        changed = self.objects[path]
        before = json.dumps(changed.get("spec"))
        change(changed)
        changed["metadata"]["generation"] += json.dumps(changed.get("spec")) != before
        changed["metadata"]["resourceVersion"] = self._next_version()
        if "deletionTimestamp" in changed["metadata"] and not changed["metadata"].get("finalizers"):
            self._gone(path)
        else:
            self._happened(path)


class World:
    """A cluster, the operator in it, and the Azure that it reads."""

    def __init__(self) -> None:
        self.azure = _Azure()
        self.api = WatchedApi()
        self.made = 0
        self.restarts = False
        self.objects: tuple[DesiredObject, ...] = ()
        self.paths: list[str] = []
        self.operator = self._operator()

    def _operator(self) -> Operator:
        held = _Held(Source(self.azure, TemplateSources([_Templates()]), _OPTIONS))
        operator = Operator(self.api, cast("ScriptedSource", held), replace(SETTINGS, source=_OPTIONS))
        held.source.now = operator.state.now
        return operator

    def start_again(self) -> None:
        """Another process takes over, which knows nothing."""
        self.restarts = False
        self.operator = self._operator()

    def ask(self) -> None:
        """Somebody asks for a poll."""
        self.made += 1
        self.operator.loops.take_requests(PolicySyncRequests(requested_at=str(self.made)))

    def ours(self, chance: random.Random) -> str:
        """A path of the operator's, there or not."""
        return chance.choice(self.paths)

    async def begin(self) -> None:
        """Waits for the first sync."""
        source = Source(_Azure(), TemplateSources([_Templates()]), _OPTIONS)
        self.objects = (await source.read(NoCluster())).objects
        self.paths = [kind_of(each.ref).path(each.ref.name) for each in self.objects]
        await self._until_as_desired()

    async def end(self) -> None:
        """It is quiet: all is as desired, or an AssertionError says what is not."""
        self.azure.answer = _GOOD
        self.api._steps.clear()
        self.api.slow.clear()
        self.ask()
        await asyncio.sleep(LOOK)
        await self._until_as_desired()
        # A CustomResourceDefinition that came is news to the leader session, which wakes the loops; there is none here.
        self.operator.loops.wake()
        await asyncio.sleep(LOOK)
        for path in self.paths:
            self.api.change(path, lambda live: live["spec"].update(theirs=1))
        # No sync is due: this is what the watches and the repairs do, fights included.
        await asyncio.sleep(PROMPT)
        found = [*self.differences(), *self.api.touched]
        assert not found, "at last: " + "; ".join(found[:5])

    async def _until_as_desired(self) -> None:
        end = clock() + PATIENCE
        while found := list(self.differences()):
            assert clock() < end, "; ".join(found[:5])
            await asyncio.sleep(LOOK)

    def differences(self) -> Iterable[str]:
        """What is not as desired, exactly: spec, marks, finalizers and owners of each; and what is said of it."""
        refs = {wanted.ref for wanted in self.objects}
        for wanted, path in zip(self.objects, self.paths, strict=True):
            live = self.api.objects.get(path)
            if live is None:
                yield f"{path} is not there"
                continue
            metadata, marks = live["metadata"], cast("Any", wanted.manifest["metadata"])
            if live["spec"] != wanted.manifest["spec"]:
                yield f"{path} has another spec"
            for key in ("labels", "annotations"):
                found = {k: v for k, v in (metadata.get(key) or {}).items() if owned_key(k)}
                expected = {k: v for k, v in (marks.get(key) or {}).items() if owned_key(k)}
                if found != expected:
                    yield f"{path} has other {key}"
            if "deletionTimestamp" in metadata or any(metadata.get(key) for key in HOLDS):
                yield f"{path} is being deleted, or is held"
        for problem in (each for each in self.operator.state.status.problems if each.ref in refs):
            yield str(problem)
        if not self.operator.state.alive():
            yield "a loop does not advance"


# --- deeds -----------------------------------------------------------------------------------------------------------


def edit_any_field(world: World, chance: random.Random) -> None:
    path = world.ours(chance)
    if path in world.api.paths:
        live = world.api.objects[path]
        place = chance.choice([each for each in places(live) if each and each[0] in ("spec", "status")] or [("spec",)])
        world.api.change(path, lambda it: put(it, place, value(chance)))


def add_a_field(world: World, chance: random.Random) -> None:
    path = world.ours(chance)
    if path in world.api.paths and isinstance(spec := world.api.objects[path].get("spec"), dict):
        holders = [each for each in _containers(spec) if isinstance(each, dict)]
        holder, key, new = chance.choice(holders), chance.choice(_KEYS), value(chance)
        world.api.change(path, lambda _: holder.update({key: new}))


def take_a_field_away(world: World, chance: random.Random) -> None:
    path = world.ours(chance)
    if path in world.api.paths and isinstance(spec := world.api.objects[path].get("spec"), dict):
        holders = [each for each in _containers(spec) if isinstance(each, dict) and each]
        if holders:
            holder = chance.choice(holders)
            key = chance.choice(sorted(holder))
            world.api.change(path, lambda _: holder.pop(key))


def _containers(node: Any) -> Iterable[Any]:
    pending = [node]
    while pending:
        each = pending.pop()
        if isinstance(each, dict | list):
            yield each
            pending.extend(each.values() if isinstance(each, dict) else each)


def forge_marks(world: World, chance: random.Random) -> None:
    path = world.ours(chance)
    if path in world.api.paths:
        marks = {"labels": texts(chance, _LABELS), "annotations": texts(chance, _ANNOTATIONS)}
        world.api.change(path, lambda it: it["metadata"].update(marks))


def strip_marks(world: World, chance: random.Random) -> None:
    path = world.ours(chance)
    if path in world.api.paths:
        world.api.change(path, lambda it: it["metadata"].update(labels={}, annotations={}))


def strip_everything(world: World, chance: random.Random) -> None:
    path = world.ours(chance)
    if path in world.api.paths:

        def strip(live: dict[str, Any]) -> None:
            live["metadata"].update(labels={}, annotations={}, managedFields=[])
            live["spec"] = {**(live.get("spec") or {}), "theirs": 1} if isinstance(live.get("spec"), dict) else {}

        world.api.change(path, strip)


def hold(world: World, chance: random.Random) -> None:
    path = world.ours(chance)
    if path in world.api.paths:
        owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u", "blockOwnerDeletion": True}
        holds = chance.choice([{"finalizers": ["example.com/hold"]}, {"ownerReferences": [owner]}])
        world.api.change(path, lambda it: it["metadata"].update(holds))


def delete(world: World, chance: random.Random) -> None:
    path = world.ours(chance)
    if path in world.api.paths:
        world.api.drop(path)


def delete_held(world: World, chance: random.Random) -> None:
    """A finalizer, then the deletion: Gatekeeper drops it at once, and it stays in place."""
    path = world.ours(chance)
    if path in world.api.paths:
        gone = {"finalizers": ["example.com/hold"], "deletionTimestamp": "2026-03-01T12:00:00Z"}
        world.api.change(path, lambda it: it["metadata"].update(gone))


def delete_all_of_a_kind(world: World, chance: random.Random) -> None:
    collection = world.ours(chance).rpartition("/")[0]
    for path in world.paths:
        if path.startswith(f"{collection}/") and path in world.api.paths:
            world.api.drop(path)


def replace_by_anothers(world: World, chance: random.Random) -> None:
    """By another object of the same name, with none of our marks."""
    path = world.ours(chance)
    if path in world.api.paths:
        live = world.api.objects[path]
        head = {key: live[key] for key in ("apiVersion", "kind")}
        world.api.drop(path)
        made = {**head, "metadata": {"name": path.rpartition("/")[2]}, "spec": {"theirs": value(chance)}}
        world.api.place(path, made)


def break_status(world: World, chance: random.Random) -> None:
    path = world.ours(chance)
    if path in world.api.paths:
        world.api.change(path, lambda it: it.update(status=value(chance)))


def edit_a_report(world: World, chance: random.Random) -> None:
    """What the operator says of itself: an AssignedPolicy, or the PolicySync's status."""
    reports = [path for path in sorted(world.api.paths) if f"/{AZPOLICY_GROUP}/" in path]
    if reports:
        path, key = chance.choice(reports), chance.choice(["status", "spec"])
        if "/policysyncs/" in path:
            key = "status"
        world.api.change(path, lambda it: it.update({key: value(chance)}))


def stranger(world: World, chance: random.Random) -> None:
    """An object of somebody else's of a managed kind, with anything in it."""
    own = constraint_kind(chance.choice(["K8sNoRoot", "K8sNoTwins"]))
    kind = chance.choice([TEMPLATE, SYNCSET, EXPANSION, *MUTATORS, own])
    world.made += 1
    name = f"{chance.choice(['stranger', 'azurepolicy-x', 'k8sother'])}-{world.made}"
    path = kind.path(name)
    if kind is own and f"{TEMPLATE.path()}/{own.plural}" not in world.api.paths:
        return
    metadata = {"name": name, "labels": {"theirs": "x"}, "annotations": {"theirs": chance.choice(_WORDS)}}
    made = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": value(chance)}
    world.api.strangers.add(path)
    world.api.appear(path, {**made, "status": value(chance)})
    if chance.random() < 0.5:
        world.api.change(path, lambda it: it.update(status=value(chance)))


def stranger_with_our_marks(world: World, chance: random.Random) -> None:
    """It merely bears them, poisoned ones too: what becomes of it is not asked, but the rest must go on."""
    kind = chance.choice([SYNCSET, EXPANSION, *MUTATORS])
    world.made += 1
    name = chance.choice([f"azurepolicy-x-{world.made:020x}", f"forged-{world.made}"])
    marks = {"labels": texts(chance, _LABELS) | {MANAGED_BY_LABEL: MARKS.managed_by}}
    metadata = {"name": name, **marks, "annotations": texts(chance, _ANNOTATIONS)}
    made = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": value(chance)}
    world.api.appear(kind.path(name), made)


def break_a_watch(world: World, chance: random.Random) -> None:
    kind = chance.choice([TEMPLATE, SYNCSET, EXPANSION, *MUTATORS, constraint_kind("K8sNoRoot")])
    world.api.break_watch(kind, ClusterError("410 Gone", status=chance.choice([410, 500])))


def fail_requests(world: World, chance: random.Random) -> None:
    method, code = chance.choice(["GET", "PUT", "POST", "DELETE"]), chance.choice([409, 429, 500, 503])
    world.api.at(method, "", status(code, "not now"), times=chance.randrange(1, 4))


def slow_requests(world: World, chance: random.Random) -> None:
    """Some of the next requests take seconds until they arrive."""
    world.api.slow = [chance.choice([0.0, 0.5, 5.0, 20.0]) for _ in range(chance.randrange(1, 20))]


def azure_fails(world: World, chance: random.Random) -> None:
    world.azure.answer = SourceError(chance.choice(["Azure answered 503", "403 Forbidden"]))
    world.ask()


def azure_is_well(world: World, _: random.Random) -> None:
    world.azure.answer = _GOOD
    world.ask()


def azure_says_anything(world: World, chance: random.Random) -> None:
    """Documents that lack, and documents with anything at any place."""
    documents = [copy.deepcopy(each) for each in DOCUMENTS]
    for _ in range(chance.randrange(1, 4)):
        document = chance.choice(documents)
        if chance.random() < 0.4:
            documents.remove(document)
        else:
            found = [each for each in places(document) if each and each[0] != "id"]
            put(document, chance.choice(found), value(chance))
    try:
        state = make_state(*documents)
    except InputError as error:
        world.azure.answer = SourceError(str(error))
    else:
        ids = sorted(each.id.lower() for each in state.assignments)
        gone = frozenset(chance.sample(ids, min(len(ids), chance.choice([0, 0, 1]))))
        world.azure.answer = replace(state, gone=gone)
    world.ask()


def restart(world: World, _: random.Random) -> None:
    """The process is killed, and another starts."""
    world.restarts = True


def suspend(world: World, chance: random.Random) -> None:
    """For some seconds."""
    until = world.operator.state.now() + timedelta(seconds=chance.randrange(1, 30))
    world.made += 1
    world.operator.loops.take_requests(PolicySyncRequests(requested_at=str(world.made), suspended_until=until))


@dataclass(frozen=True, slots=True)
class Deed:
    """What may be done, and how often beside the others."""

    does: Callable[[World, random.Random], None]
    weight: int

    @property
    def name(self) -> str:
        return self.does.__name__


DEEDS: Final = (
    Deed(edit_any_field, 30),
    Deed(add_a_field, 10),
    Deed(take_a_field_away, 10),
    Deed(forge_marks, 10),
    Deed(strip_marks, 4),
    Deed(strip_everything, 4),
    Deed(hold, 4),
    Deed(delete, 10),
    Deed(delete_held, 5),
    Deed(delete_all_of_a_kind, 1),
    Deed(replace_by_anothers, 4),
    Deed(break_status, 5),
    Deed(edit_a_report, 3),
    Deed(stranger, 8),
    Deed(stranger_with_our_marks, 3),
    Deed(break_a_watch, 2),
    Deed(fail_requests, 3),
    Deed(slow_requests, 3),
    Deed(azure_fails, 1),
    Deed(azure_is_well, 2),
    Deed(azure_says_anything, 3),
    Deed(suspend, 1),
    Deed(restart, 1),
)
_BY_NAME: Final = {deed.name: deed for deed in DEEDS}


@dataclass(frozen=True, slots=True)
class Step:
    """A deed, the seed of its chances, and the seconds that pass after it."""

    deed: str
    seed: int
    pause: float


def steps(count: int, seed: int) -> list[Step]:
    """The deeds of one round."""
    chance = random.Random(seed)
    chosen = chance.choices(DEEDS, [deed.weight for deed in DEEDS], k=count)
    return [Step(deed.name, chance.getrandbits(32), chance.choice([0.0, 0.0, 0.3, 0.7, 3.0])) for deed in chosen]


async def _play(round_of: Sequence[Step]) -> None:
    world, left = World(), iter(round_of)
    async with world.operator.running():
        await world.begin()
        await _do(world, left)
    while world.restarts:
        world.start_again()
        async with world.operator.running():
            await _do(world, left)


async def _do(world: World, left: Iterator[Step]) -> None:
    """The deeds that are left, until the process is to start again, or to the end and what must hold then."""
    for step in left:
        _BY_NAME[step.deed].does(world, random.Random(step.seed))
        await asyncio.sleep(step.pause)
        if world.restarts:
            return
    await world.end()


def fault_of(round_of: Sequence[Step]) -> str:
    """What goes wrong in a round, empty where nothing does."""
    try:
        in_virtual_time(_play)(round_of)
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - whatever it is, it is a fault
        return f"{type(error).__name__}: {error}"
    return ""


def cut_down(round_of: Sequence[Step]) -> list[Step]:
    """The deeds that the fault takes: parts are left out, ever smaller ones, as long as some fault stays."""
    left, size = list(round_of), max(1, len(round_of) // 2)
    while size:
        for start in range(0, len(left), size):
            fewer = left[:start] + left[start + size :]
            if fewer and fault_of(fewer):
                left = fewer
                break
        else:
            size //= 2
    return left


def run(count: int, seed: int, *, told: Callable[[str], object] = print) -> int:
    """So many cases; how many rounds failed. Each fault is told with the deeds that it takes."""
    failed, done, began = 0, 0, time.monotonic()
    deeds: Counter[str] = Counter()
    for number in range(-(-count // ROUND)):
        round_of = steps(min(ROUND, count - done), seed + number)
        done += len(round_of)
        deeds.update(step.deed for step in round_of)
        if fault := fault_of(round_of):
            failed += 1
            fewer = cut_down(round_of)
            told(f"seed {seed + number}: {fault}\n  it takes {fewer}\n  {fault_of(fewer)}")
    seconds = time.monotonic() - began
    told(f"{done} cases in {seconds:.1f} s ({done / seconds:.0f} a second), {failed} rounds failed: {dict(deeds)}")
    return failed


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Fuzzes the operator on an API server in memory.")
    parser.add_argument("--count", type=int, default=1000, help="how many cases (1000)")
    parser.add_argument("--seed", type=int, default=SEED, help=f"the first round's seed ({SEED})")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    return 1 if run(arguments.count, arguments.seed) else 0


if __name__ == "__main__":
    raise SystemExit(main())
