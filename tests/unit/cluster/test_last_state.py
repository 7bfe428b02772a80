"""The kept state: it comes back exactly, and nothing else is ever taken for one, whenever the writer is killed."""

from __future__ import annotations

import asyncio
import base64
import copy
import gzip
import hashlib
import json
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.azure.snapshot import read_snapshot
from controller.cluster import last_state
from controller.cluster.kinds import FIXED_KINDS, constraint_kind
from controller.cluster.last_state import (
    DIGEST,
    LARGEST,
    NAME,
    SCHEMA,
    LastState,
    UnusableStateError,
    canonical,
    of_canonical,
    of_document,
    packed,
    to_document,
    unpacked,
)
from controller.cluster.written import Kept
from controller.errors import ClusterError
from controller.gatekeeper.desired import desired_state as read_desired
from controller.gatekeeper.model import DesiredObject, DesiredState, ObjectRef, Rendered, Role
from controller.gatekeeper.providers import make_provider
from controller.gatekeeper.syncset import ANNOTATION, syncset
from controller.policy.model import Member, NotApplied, NotAppliedReason, Unresolved, UnresolvedReason
from tests.unit.cluster_builders import (
    CLUSTER_ID,
    MARKS,
    constraint,
    desired_state,
    member,
    mutator,
    not_applied,
    template,
    unresolved,
)
from tests.unit.fake_api import FakeApi, status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.cluster.client import Response

ROOT: Final = Path(__file__).parents[3]
NAMESPACE: Final = "azpolicy"
COLLECTION: Final = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
HEAD: Final = f"{COLLECTION}/{NAME}"
STATE: Final = Kept(
    desired_state(
        template(),
        mutator(),
        constraint(limit=1),
        outcomes=(not_applied(member("off")), replace(unresolved(member("odd", whole=True)), kept_since="noon")),
        gone=("old",),
    ),
    {template().ref: "uid-1", mutator().ref: "uid-2", constraint().ref: "uid-3"},
    {template().ref: template(rego="package before")},
)


class Killed(BaseException):
    """The process is no more."""


class Server(FakeApi):
    """An API server whose client is killed around its n-th write, and that deletes without a precondition, too."""

    def __init__(self) -> None:
        super().__init__()
        self.writes_left = -1
        self.before = True

    async def _once(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None, *, by_metadata: bool
    ) -> Response:
        dies = False
        if method != "GET":
            dies = self.writes_left == 0
            self.writes_left -= 1
        if dies and self.before:
            raise Killed
        answer = await super()._once(method, path, query, body, by_metadata=by_metadata)
        if dies:
            raise Killed
        return answer

    def _delete(self, path: str, options: Mapping[str, Any]) -> Response:
        there = self._objects.get(path, {"metadata": {"uid": ""}})
        return super()._delete(path, {"preconditions": {"uid": there["metadata"]["uid"]}, **options})

    @property
    def names(self) -> set[str]:
        return {path.rpartition("/")[2] for path in self._objects}

    @property
    def head(self) -> dict[str, Any]:
        """The head as it is now, to be changed by a test."""
        head: dict[str, Any] = self._objects[HEAD]
        return head

    def writes(self) -> list[tuple[str, str]]:
        return [(call.method, call.path.rpartition("/")[2]) for call in self.calls if call.method != "GET"]


@pytest.fixture
def server() -> Server:
    """An empty cluster."""
    return Server()


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a few bytes, as if the states were huge: making huge ones would take seconds."""
    monkeypatch.setattr(last_state, "PART_BYTES", 400)


def kept(server: Server) -> LastState:
    return LastState(server, NAMESPACE, MARKS)


async def loaded(server: Server, cluster_id: str | None = CLUSTER_ID) -> Kept | None:
    """What another process reads."""
    return await kept(server).load(cluster_id)


def another(number: int, *, constraints: int = 1) -> Kept:
    """A state that tells itself from others; the more constraints, the larger."""
    owners = [member(hashlib.sha256(f"{number} {n}".encode()).hexdigest()) for n in range(constraints)]
    return Kept(desired_state(template(), *(constraint(by=owner, number=number) for owner in owners)))


# --- the document ----------------------------------------------------------------------------------------------------

TEXTS: Final = st.text(st.characters(exclude_categories=()), max_size=6)
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
GVKS: Final = st.fixed_dictionaries(
    {"gvks": st.lists(st.fixed_dictionaries({"group": TEXTS, "version": TEXTS, "kind": TEXTS}), max_size=2)}
)
MEMBERS: Final = st.builds(Member, *[TEXTS] * 8, whole=st.booleans(), enforcement_mode=TEXTS)
KINDS: Final = st.sampled_from([*FIXED_KINDS, constraint_kind("K8sThing"), constraint_kind("K8sOther")])


@st.composite
def objects(draw: st.DrawFn) -> DesiredObject:
    """An object of any kind that azpolicy writes."""
    kind = draw(KINDS)
    texts = st.dictionaries(TEXTS, TEXTS, max_size=2)
    metadata = draw(st.fixed_dictionaries({"name": TEXTS}, optional={"labels": texts, "annotations": texts}))
    manifest: dict[str, Any] = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": metadata,
        "spec": draw(JSON if kind.role is not Role.SYNC else GVKS),
    }
    return DesiredObject.of(kind.role, manifest, draw(st.lists(MEMBERS, max_size=2).map(tuple)))


REFS: Final = st.lists(st.builds(ObjectRef, TEXTS, TEXTS, TEXTS), max_size=2).map(tuple)
NOTES: Final = st.lists(TEXTS, max_size=2).map(tuple)
OUTCOMES: Final = (
    st.builds(Rendered, MEMBERS, TEXTS, TEXTS, REFS, TEXTS, TEXTS, NOTES, TEXTS)
    | st.builds(NotApplied, MEMBERS, st.sampled_from(NotAppliedReason), TEXTS)
    | st.builds(Unresolved, MEMBERS, st.sampled_from(UnresolvedReason), TEXTS, TEXTS)
)
STATES: Final = st.builds(
    Kept,
    st.builds(
        DesiredState,
        TEXTS,
        st.lists(objects(), max_size=3).map(tuple),
        st.lists(OUTCOMES, max_size=3).map(tuple),
        st.frozensets(TEXTS, max_size=3),
        st.frozensets(TEXTS, max_size=3),
    ),
    st.dictionaries(objects().map(lambda each: each.ref), TEXTS, max_size=3),
    st.lists(objects().filter(lambda each: each.role is Role.TEMPLATE), max_size=1).map(
        lambda found: {each.ref: each for each in found}
    ),
)


@settings(max_examples=40)
@given(STATES)
def test_every_state_comes_back_exactly(state: Kept) -> None:
    assert of_canonical(unpacked(packed(canonical(state)))) == state


def test_the_state_of_the_examples_comes_back_exactly() -> None:
    desired = asyncio.run(
        read_desired(
            read_snapshot(ROOT / "examples" / "snapshot", None),
            make_provider("bundle"),
            now=datetime(2026, 1, 1, tzinfo=UTC),
            marks=MARKS,
        )
    )

    assert len(desired.objects) > 10
    assert of_canonical(canonical(Kept(desired))) == Kept(desired)


def test_equal_states_have_the_same_bytes_whatever_the_order_of_their_sets() -> None:
    ids = [f"/assignments/{number}" for number in range(50)]

    state = STATE.desired
    forwards = replace(STATE, desired=replace(state, listed=frozenset(ids), gone=frozenset(ids)))
    backwards = replace(STATE, desired=replace(state, listed=frozenset(reversed(ids)), gone=frozenset(reversed(ids))))

    assert packed(canonical(forwards)) == packed(canonical(backwards))
    assert packed(canonical(forwards))[0][4:8] == bytes(4), "the time is in it"


@settings(max_examples=100)
@given(st.data())
def test_a_document_that_somebody_changed_is_a_state_or_an_error_that_says_so(data: st.DataObject) -> None:
    document = to_json(STATE)
    node: Any = document
    while True:
        places = sorted(node) if isinstance(node, dict) else range(len(node))
        place = data.draw(st.sampled_from(list(places)))
        if not isinstance(node[place], dict | list) or not node[place] or data.draw(st.booleans()):
            break
        node = node[place]
    if data.draw(st.booleans()) and isinstance(node, dict):
        del node[place]
    else:
        node[place] = data.draw(JSON)

    try:
        state = of_document(document)
    except ValueError:
        return
    assert of_document(to_json(state)) == state


def to_json(state: Kept) -> Any:
    return json.loads(json.dumps(to_document(state)))


@pytest.mark.parametrize(
    "foreign",
    [
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding"},
        {"apiVersion": "v1", "kind": "Pod"},
        {"apiVersion": "templates.gatekeeper.sh/v1", "kind": "ConstraintTemplate"},
        {"apiVersion": "azpolicy.dev/v1alpha1", "kind": "PolicySync"},
    ],
)
def test_an_object_that_is_no_constraint_is_not_taken_for_one(foreign: dict[str, str]) -> None:
    document = to_json(STATE)
    document["objects"][2]["manifest"] |= foreign

    with pytest.raises(UnusableStateError, match=f"{foreign['kind']}/.* is not a constraint"):
        of_document(document)


@pytest.mark.parametrize(
    "broken",
    [
        {"metadata": None},
        {"metadata": {}},
        {"metadata": {"name": "a", "labels": "none"}},
        {"metadata": {"name": "a", "labels": {"managed-by": 1}}},
        {"metadata": {"name": "a", "annotations": {"b": None}}},
        {"apiVersion": None},
        {"kind": 1},
    ],
)
def test_an_object_that_is_no_manifest_is_an_error(broken: dict[str, Any]) -> None:
    document = to_json(STATE)
    document["objects"][2]["manifest"] |= broken

    with pytest.raises(UnusableStateError, match="should be"):
        of_document(document)


@pytest.mark.parametrize(
    "foreign",
    [
        {"group": "rbac.authorization.k8s.io", "kind": "ClusterRoleBinding", "name": "admin", "uid": "u"},
        {"group": "", "kind": "Secret", "name": "token", "uid": "u"},
    ],
)
def test_no_record_makes_an_object_ours_that_is_of_no_kind_of_gatekeepers(foreign: dict[str, str]) -> None:
    document = to_json(STATE)
    document["written"].append(foreign)

    with pytest.raises(UnusableStateError, match="of no kind that azpolicy writes"):
        of_document(document)


@pytest.mark.parametrize(
    "asks",
    [
        {"gvks": 1},
        {"gvks": ["Pod"]},
        {"gvks": [{"kind": "Pod"}]},
        {"gvks": [{"group": [], "version": "", "kind": ""}]},
        {},
    ],
)
def test_a_syncset_that_no_plan_could_read_is_an_error(asks: dict[str, Any]) -> None:
    document = to_json(Kept(desired_state(syncset((), MARKS))))
    document["objects"][0]["manifest"]["spec"] = asks

    with pytest.raises(UnusableStateError, match="asks for data in a form that is not known"):
        of_document(document)


def test_a_template_whose_need_for_data_no_plan_could_read_is_an_error() -> None:
    document = to_json(STATE)
    document["objects"][0]["manifest"]["metadata"]["annotations"][ANNOTATION] = "not JSON"

    with pytest.raises(UnusableStateError, match="asks for data in a form that is not known"):
        of_document(document)


def test_a_good_template_is_a_template() -> None:
    document = to_json(STATE)
    document["templates"] = [document["objects"][1]]

    with pytest.raises(UnusableStateError, match="is not a template"):
        of_document(document)


async def test_what_could_not_be_read_back_is_not_written(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    state = kept(server)
    await state.save(another(1))
    monkeypatch.setattr(last_state, "LARGEST", 3000)

    with pytest.raises(UnusableStateError, match="larger than 3000"):
        await state.save(another(2, constraints=100))

    assert await loaded(server) == another(1)
    await state.save(another(3))
    assert await loaded(server) == another(3)


async def test_what_is_nested_too_deeply_to_be_read_back_is_not_written(server: Server) -> None:
    deep: Any = "x"
    for _ in range(150):
        deep = [deep]

    with pytest.raises(UnusableStateError, match="levels"):
        await kept(server).save(Kept(desired_state(template(), constraint(deep=deep))))

    assert server.names == set()


def test_what_would_fill_the_memory_is_given_up_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_state, "LARGEST", 1000)
    bomb = gzip.compress(bytes(10_000_000), 1)
    tracemalloc.start()

    with pytest.raises(UnusableStateError, match="larger than 1000"):
        unpacked([bomb])

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


# --- kept in the cluster ---------------------------------------------------------------------------------------------


async def test_what_one_process_saves_the_next_one_loads(server: Server) -> None:
    await kept(server).save(STATE)

    assert await loaded(server) == STATE
    assert await loaded(server, None) == STATE
    assert await loaded(server, CLUSTER_ID.upper() + "/") == STATE


async def test_the_configmap_tells_whose_it_is_and_what_is_in_it(server: Server) -> None:
    await kept(server).save(STATE)

    metadata = server.head["metadata"]
    assert server.names == {NAME}
    assert metadata["labels"] == {"managed-by": "azure-policy-sync"}
    assert metadata["annotations"][DIGEST] == hashlib.sha256(canonical(STATE)).hexdigest()


async def test_the_same_state_again_asks_nothing_of_the_server(server: Server) -> None:
    first = kept(server)
    await first.save(STATE)
    after_save = len(server.calls)
    await first.save(copy.deepcopy(STATE))
    assert len(server.calls) == after_save

    second = kept(server)
    await second.load(CLUSTER_ID)
    after_load = len(server.calls)
    await second.save(STATE)
    assert len(server.calls) == after_load


async def test_a_process_that_starts_with_the_state_that_is_kept_writes_nothing(server: Server) -> None:
    await kept(server).save(STATE)
    written = server.writes()

    await kept(server).save(STATE)

    assert server.writes() == written


async def test_a_process_that_starts_writes_a_broken_state_anew(server: Server) -> None:
    await kept(server).save(STATE)
    set_bytes(server.head, b"")

    await kept(server).save(STATE)

    assert await loaded(server) == STATE


async def test_the_former_state_is_written_again_after_a_save_of_which_nothing_is_known(server: Server) -> None:
    state = kept(server)
    await state.save(another(1))
    server.writes_left, server.before = 0, False
    with pytest.raises(Killed):
        await state.save(another(2))

    await state.save(another(1))

    assert await loaded(server) == another(1)


async def test_a_state_that_somebody_deleted_is_made_again(server: Server) -> None:
    state = kept(server)
    await state.save(another(1))
    del server._objects[HEAD]
    with pytest.raises(ClusterError):
        await state.save(another(2))

    await state.save(another(1))

    assert await loaded(server) == another(1)


async def test_another_state_replaces_the_one_before(server: Server) -> None:
    state = kept(server)
    await state.save(another(1))
    await state.save(another(2))
    await state.save(another(1))

    assert await loaded(server) == another(1)
    assert server.writes() == [("POST", "configmaps"), ("PUT", NAME), ("PUT", NAME)]


async def test_a_process_that_loaded_nothing_saves_over_what_is_there(server: Server) -> None:
    await kept(server).save(another(1))
    await kept(server).save(another(2))

    assert await loaded(server) == another(2)


async def test_a_head_that_another_wrote_meanwhile_is_not_overwritten_unseen(server: Server) -> None:
    late = kept(server)
    await late.save(another(1))
    await kept(server).save(another(2))

    with pytest.raises(ClusterError) as conflict:
        await late.save(another(3))
    assert conflict.value.status == 409
    assert await loaded(server) == another(2)

    await late.save(another(3))
    assert await loaded(server) == another(3)


@pytest.mark.usefixtures("small_parts")
async def test_a_large_state_is_kept_in_parts_and_those_of_the_one_before_are_deleted(server: Server) -> None:
    state = kept(server)
    await state.save(another(1, constraints=30))
    large = server.names
    await state.save(another(2, constraints=20))
    smaller = server.names
    await state.save(another(3))

    assert large > {NAME, f"{NAME}-a1", f"{NAME}-a2"}
    assert smaller > {NAME, f"{NAME}-b1"}
    assert len(smaller) < len(large)
    assert not {name for name in smaller if "-a" in name.removeprefix(NAME)}
    assert server.names & large & smaller == {NAME}
    assert await loaded(server) == another(3)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("before", [True, False], ids=["before a write", "after a write"])
async def test_a_writer_killed_at_any_moment_leaves_the_state_before_or_the_new_one(before: bool) -> None:
    old, new, newer = another(1, constraints=10), another(2, constraints=14), another(3, constraints=4)
    seen = []
    for write in range(100):
        server = Server()
        await kept(server).save(old)
        server.writes_left, server.before = write, before
        try:
            await kept(server).save(new)
        except Killed:
            seen.append(await loaded(server) == new)
            assert await loaded(server) in (old, new)
            server.writes_left = -1
            await kept(server).save(newer)
            assert await loaded(server) == newer
        else:
            break

    assert seen == sorted(seen)
    assert set(seen) == {False, True}


# --- what cannot be used ---------------------------------------------------------------------------------------------


async def test_where_nothing_is_kept_yet_nothing_is_loaded(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "azpolicy")

    assert await loaded(server) is None
    assert [record.levelname for record in caplog.records] == ["INFO"]


def set_text(head: dict[str, Any], text: bytes) -> None:
    """Puts any text into the head as if it had been saved."""
    set_bytes(head, gzip.compress(text))
    head["metadata"]["annotations"][DIGEST] = hashlib.sha256(text).hexdigest()


def set_bytes(head: dict[str, Any], data: bytes) -> None:
    head["binaryData"]["state.json.gz"] = base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (lambda head: head["metadata"].pop("annotations"), "digest differs"),
        (lambda head: head["metadata"]["annotations"].update({DIGEST: "0" * 64}), "digest differs"),
        (lambda head: head.pop("binaryData"), "should"),
        (lambda head: head["binaryData"].clear(), "should"),
        (lambda head: head["binaryData"].update({"state.json.gz": "?"}), "base64"),
        (lambda head: set_bytes(head, b""), "cut off"),
        (lambda head: set_bytes(head, b"plain"), "damaged"),
        (lambda head: set_bytes(head, packed(canonical(STATE))[0][:-9]), "cut off"),
        (lambda head: set_bytes(head, packed(canonical(another(9)))[0]), "digest differs"),
        (lambda head: set_bytes(head, gzip.compress(bytes(LARGEST + 1), 1)), "larger"),
        (lambda head: set_text(head, b"not JSON"), "Expecting value"),
        (lambda head: set_text(head, b"[" * 100_000), "no JSON"),
        (lambda head: set_text(head, b"[" * 1000 + b"]" * 1000), "nested too deeply"),
        (lambda head: set_text(head, b"[]"), "should"),
        (lambda head: set_text(head, b'{"schema":"azpolicy.dev/state/v1"}'), SCHEMA),
        (lambda head: set_text(head, json.dumps({"schema": SCHEMA}).encode()), "no values"),
        (lambda head: set_text(head, json.dumps({"schema": SCHEMA, "values": [[0]]}).encode()), "not there"),
        (lambda head: set_text(head, json.dumps({"schema": SCHEMA, "values": [{}]}).encode()), "should"),
    ],
)
async def test_what_cannot_be_used_is_told_in_one_line_and_then_replaced(
    server: Server, caplog: pytest.LogCaptureFixture, breaks: Any, says: str
) -> None:
    await kept(server).save(STATE)
    breaks(server.head)
    state = kept(server)

    assert await state.load(CLUSTER_ID) is None

    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert says in record.message
    assert "until Azure has been read" in record.message
    await state.save(STATE)
    assert await loaded(server) == STATE


async def test_the_state_of_another_cluster_is_not_used(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    await kept(server).save(STATE)

    assert await loaded(server, f"{CLUSTER_ID}-other") is None
    assert f"it is of cluster {CLUSTER_ID}" in caplog.text


@pytest.mark.usefixtures("small_parts")
async def test_a_state_of_which_a_part_is_missing_is_not_used(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    await kept(server).save(another(1, constraints=10))
    del server._objects[f"{HEAD}-a1"]

    assert await loaded(server) is None
    assert f"configmap {NAME}-a1 is missing" in caplog.text


async def test_no_name_that_is_not_of_a_part_is_read(server: Server) -> None:
    await kept(server).save(STATE)
    server.head["metadata"]["annotations"]["azpolicy.dev/state-parts"] = (
        f"../secrets/token {NAME}-a1/../../secrets/token other"
    )

    assert await loaded(server) == STATE
    assert {call.path for call in server.calls if call.method == "GET"} == {HEAD}


@pytest.mark.usefixtures("small_parts")
async def test_no_more_parts_are_read_than_any_state_has(server: Server) -> None:
    await kept(server).save(another(1, constraints=10))
    server.head["metadata"]["annotations"]["azpolicy.dev/state-parts"] = f"{NAME}-a1 " * 1000
    server.calls.clear()

    await loaded(server)

    assert len(server.calls) < 100


@pytest.mark.usefixtures("small_parts")
async def test_a_part_that_somebody_else_deleted_needs_no_deletion(server: Server) -> None:
    state = kept(server)
    await state.save(another(1, constraints=10))
    del server._objects[f"{HEAD}-a1"]

    await state.save(another(2))

    assert await loaded(server) == another(2)
    assert not {name for name in server.names if name.startswith(f"{NAME}-a")}


async def test_a_server_that_refuses_is_an_error_and_not_a_missing_state(server: Server) -> None:
    server.at("GET", NAME, status(403, "configmaps is forbidden", "Forbidden"))

    with pytest.raises(ClusterError, match="forbidden"):
        await loaded(server)


async def test_a_failed_save_is_made_good_by_the_next(server: Server) -> None:
    state = kept(server)
    server.at("POST", "configmaps", status(403, "configmaps is forbidden", "Forbidden"))

    with pytest.raises(ClusterError, match="keeping the last good state"):
        await state.save(STATE)
    await state.save(STATE)

    assert await loaded(server) == STATE
