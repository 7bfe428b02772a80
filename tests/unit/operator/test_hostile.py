"""The operator among hostile objects: whatever is done to or beside its own, all is as desired once it is quiet.

Random edits of any field of any managed object, deletions, and foreign objects of every managed kind; values of every
type, some as deep as the client lets through, some with the mark of what it cut out. AZPOLICY_FUZZ is the number of
cases (10 by default, of up to ten attacks each); the same ones are tried at each run.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.bounded_json import CUT, DEEPEST
from controller.cluster.kinds import ASSIGNED_POLICY, MUTATORS, SYNCSET, TEMPLATE, constraint_kind, kind_of
from controller.cluster.ownership import Ownership, ownership
from controller.gatekeeper.naming import MANAGED_BY_LABEL
from controller.report.events import COLLECTION
from tests.unit.azure_builders import INVISIBLE, places
from tests.unit.cluster_builders import MARKS, constraint, desired_state, foreign, member, mutator, template
from tests.unit.operator.scripted import Operator, ScriptedSource, cluster, restored, until
from tests.unit.virtual_time import in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from controller.jsontypes import Json
    from tests.unit.fake_api import FakeApi

    Attack: TypeAlias = Callable[[FakeApi], None]

CASES: Final = int(os.environ.get("AZPOLICY_FUZZ", "10"))
OURS: Final = (template(), constraint(by=member("one")), constraint(by=member("two")), mutator())
PATHS: Final = [kind_of(each.ref).path(each.ref.name) for each in OURS]
QUIET: Final = 400.0


def nested(levels: int) -> Json:
    value: Json = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


TEXTS = st.sampled_from(["", "x", "deny", "dryrun", *INVISIBLE, "0", "K8sThing", "azure-policy-sync", CUT, "é" * 50])
VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
) | st.sampled_from([DEEPEST - 10, 90]).map(nested)
LABELS: st.SearchStrategy[Json] = st.dictionaries(TEXTS, TEXTS, max_size=4)


def tampering(path: str, document: dict[str, Any]) -> st.SearchStrategy[Attack]:
    """Anything at any place of an object that the API server leaves to its users; labels and annotations stay texts."""
    spec = [place for place in places(document) if place and place[0] in ("spec", "status")]
    anything = st.tuples(st.sampled_from(spec), VALUES)
    marks = st.tuples(st.sampled_from([("metadata", "labels"), ("metadata", "annotations")]), LABELS)

    def change(found: tuple[Any, Json]) -> Attack:
        def attack(api: FakeApi) -> None:
            if path in api.paths:
                api.tamper(path, *found)

        return attack

    return (anything | marks).map(change)


def attacks() -> st.SearchStrategy[Attack]:
    status: Json = {
        "byPod": [{"observedGeneration": 1, "errors": [], "enforced": True}],
        "violations": [],
        "created": 1,
    }
    edits = [tampering(path, {**wanted.manifest, "status": status}) for path, wanted in zip(PATHS, OURS, strict=True)]
    return st.one_of(*edits, st.sampled_from(PATHS).map(deletion), strangers())


def deletion(path: str) -> Attack:
    def attack(api: FakeApi) -> None:
        if path in api.paths:
            api.drop(path)

    return attack


def strangers() -> st.SearchStrategy[Attack]:
    """Foreign objects of every managed kind, with anything in them; some bear a name or a label as ours do."""
    kinds = st.sampled_from([TEMPLATE, SYNCSET, *MUTATORS, constraint_kind("K8sThing"), ASSIGNED_POLICY])
    names = st.sampled_from(["x", "stranger", "azurepolicy-x-0123456789abcdef0123", "k8sother"])

    def made(parts: tuple[Any, str, Json, Json, Json, Json]) -> Attack:
        kind, name, labels, annotations, spec, status = parts
        metadata = {"name": name, "labels": labels, "annotations": annotations}
        document = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}
        return lambda api: api.place(kind.path(name), {**document, "spec": spec, "status": status})

    return st.tuples(kinds, names, LABELS, LABELS, VALUES, VALUES).map(made)


async def survives(steps: list[Attack]) -> None:
    operator = Operator(cluster(), ScriptedSource(desired_state(*OURS)))
    api = operator.api
    stranger = foreign(constraint(by=member("stranger")), name="a-stranger")
    api.put(stranger)
    async with operator.running():
        await operator.in_sync(*OURS)
        for step in steps:
            step(api)
            await asyncio.sleep(0.7)
        # AssignedPolicies and Events are not somebody else's.
        own = (ASSIGNED_POLICY.path(), COLLECTION)
        others = [path for path in api.paths if "stranger" in path and not path.startswith(own)]
        strange = {path: api.read(path)["spec"] for path in others}
        await asyncio.sleep(QUIET)
        await until(lambda: all(restored(api, each) for each in OURS), seconds=QUIET)

        for wanted in OURS:
            found = api.found(wanted.ref)
            assert ownership(found, MARKS, desired=True) is Ownership.OURS
            assert found.labels[MANAGED_BY_LABEL] == MARKS.managed_by
        assert {path: api.read(path)["spec"] for path in strange} == strange


@pytest.mark.timeout(3600)
def test_whatever_is_done_to_it_or_beside_it_the_cluster_is_as_desired_once_it_is_quiet() -> None:
    @settings(max_examples=CASES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(attacks(), min_size=1, max_size=10))
    def check(steps: list[Attack]) -> None:
        in_virtual_time(survives)(steps)

    check()


@pytest.mark.parametrize(
    "status", ["x", 7, [], {"byPod": "x"}, {"byPod": [7]}, {"violations": 7}, nested(DEEPEST - 10)]
)
@pytest.mark.parametrize("wanted", OURS[:2], ids=["template", "constraint"])
def test_a_malformed_status_neither_ends_the_process_nor_stops_repairs(wanted: Any, status: Json) -> None:
    @in_virtual_time
    async def check() -> None:
        operator = Operator(cluster(), ScriptedSource(desired_state(*OURS)))
        api = operator.api
        async with operator.running():
            await operator.in_sync(*OURS)

            api.tamper(kind_of(wanted.ref).path(wanted.ref.name), ("status",), status)
            api.edit(OURS[3].ref, location="spec.hostPID")

            await until(lambda: restored(api, OURS[3]), seconds=2)

    check()


def reasons(api: FakeApi) -> list[str]:
    """Of the Events that were sent."""
    return [call.body["reason"] for call in api.calls if call.path == COLLECTION]


def test_a_deep_spec_is_drift_and_repaired() -> None:
    @in_virtual_time
    async def check() -> None:
        operator = Operator(cluster(), ScriptedSource(desired_state(*OURS)))
        api = operator.api
        async with operator.running():
            await operator.in_sync(*OURS)

            api.edit(OURS[1].ref, parameters={"deep": CUT})

            await until(lambda: restored(api, OURS[1]), seconds=2)
            await until(lambda: "Unreadable" in reasons(api), seconds=5)
            assert reasons(api).count("Unreadable") == 1

    check()


def test_a_deep_stranger_of_a_desired_name_is_a_conflict_and_the_rest_is_made() -> None:
    """A template that somebody else made: it cannot be told by its marks whose it is, and it is not touched."""

    @in_virtual_time
    async def check() -> None:
        other = template("K8sOther")
        operator = Operator(cluster(), ScriptedSource(desired_state(*OURS, other)))
        api = operator.api
        spec: Any = other.manifest["spec"]
        api.put(foreign(other, spec={**spec, "deep": CUT}))
        async with operator.running():
            await until(lambda: operator.state.status.settled)
            await until(lambda: all(restored(api, each) for each in OURS))

            [problem] = operator.state.status.problems
            assert (problem.ref, problem.reason) == (other.ref, "Conflict")
            assert api.found(other.ref).manifest["spec"]["deep"] == CUT

    check()
