"""Gatekeeper's parts: a deletion is undone, whatever else happens to them is taken over."""

from __future__ import annotations

import asyncio
import copy
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.cluster.guard import ANSWER_SECONDS, LOOK_SECONDS, NAME, ComponentStore, Guard
from controller.cluster.guard_rules import (
    DEPLOYMENT,
    GUARDED,
    MUTATING,
    SERVICE,
    VALIDATING,
    Evidence,
    compared,
    dump,
    load,
    restorable,
)
from controller.cluster.kinds import LiveObject
from controller.errors import ClusterError
from tests.unit.azure_builders import places, put
from tests.unit.cluster_builders import MARKS
from tests.unit.fake_api import FakeApi, status
from tests.unit.virtual_time import clock, in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from controller.cluster.kinds import Resource
    from controller.gatekeeper.model import ObjectRef

SYSTEM: Final = {"gatekeeper.sh/system": "yes"}
NAMESPACE: Final = "azpolicy"
KEPT: Final = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{NAME}"
HOOK: Final = {
    "name": "validation.gatekeeper.sh",
    "clientConfig": {"caBundle": "Q0E=", "url": "https://gatekeeper/v1/admit"},
    "rules": [
        {
            "apiGroups": ["*"],
            "apiVersions": ["*"],
            "operations": ["CREATE", "UPDATE"],
            "resources": ["*", "pods/ephemeralcontainers"],
        }
    ],
}
MUTATION: Final = {**HOOK, "name": "mutation.gatekeeper.sh", "clientConfig": {"url": "https://gatekeeper/v1/mutate"}}
SERVER_FIELDS: Final = {
    "uid": "u",
    "resourceVersion": "7",
    "generation": 3,
    "creationTimestamp": "t",
    "managedFields": [],
}
TEMPLATES: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/constrainttemplates.templates.gatekeeper.sh"
HOME: Final = "/api/v1/namespaces/gatekeeper-system"
ACCOUNT: Final = f"{HOME}/serviceaccounts/gatekeeper-admin"


def part(resource: Resource, name: str, content: Mapping[str, Any], **metadata: Any) -> LiveObject:
    """A part of Gatekeeper as the server returns it."""
    space = {"namespace": resource.namespace} if resource.namespace else {}
    given = {"name": name, **space, "labels": SYSTEM, **SERVER_FIELDS, **metadata}
    return LiveObject.of(resource, {"metadata": given, **content})


def deployment(
    name: str = "gatekeeper-audit", *, image: str = "gatekeeper:v1", replicas: int = 1, **more: Any
) -> LiveObject:
    pod = {"serviceAccountName": "gatekeeper-admin", "containers": [{"name": "manager", "image": image}]}
    spec = {"replicas": replicas, "template": {"spec": pod}}
    return part(DEPLOYMENT, name, {"spec": spec, "status": {"readyReplicas": 1}}, **more)


def service(**spec: Any) -> LiveObject:
    given = {"clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"], "ports": [{"port": 443, "nodePort": 30443}], **spec}
    return part(SERVICE, "gatekeeper-webhook-service", {"spec": given, "status": {"loadBalancer": {}}})


def webhooks(*hooks: Mapping[str, Any], resource: Resource = VALIDATING, name: str = "", **more: Any) -> LiveObject:
    side = "validating" if resource is VALIDATING else "mutating"
    return part(resource, name or f"gatekeeper-{side}-webhook-configuration", {"webhooks": list(hooks)}, **more)


def remembered(*parts: LiveObject) -> dict[ObjectRef, Mapping[str, Any]]:
    return {each.ref: restorable(each) for each in parts}


WHOLE: Final = (service(), deployment(), webhooks(HOOK), webhooks(MUTATION, resource=MUTATING))


# --- what follows from how it is found -------------------------------------------------------------------------------

BEFORE: Final = deployment(image="gatekeeper:v1")
UPGRADED: Final = deployment(image="gatekeeper:v2")
LEAVING: Final[dict[str, Any]] = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
OWNER: Final[dict[str, Any]] = {"ownerReferences": [{"kind": "Gatekeeper", "name": "gatekeeper"}]}


@pytest.mark.parametrize(
    ("good", "there", "then", "lost"),
    [
        pytest.param(None, UPGRADED, UPGRADED, False, id="new"),
        pytest.param(BEFORE, UPGRADED, UPGRADED, False, id="upgraded"),
        pytest.param(BEFORE, None, BEFORE, True, id="deleted"),
        pytest.param(None, None, None, False, id="never there"),
        pytest.param(BEFORE, deployment(image="gatekeeper:v2", **LEAVING), BEFORE, False, id="being deleted"),
        pytest.param(BEFORE, deployment(replicas=0), BEFORE, False, id="scaled to nothing"),
        pytest.param(None, deployment(replicas=0), None, False, id="new and scaled to nothing"),
        pytest.param(BEFORE, deployment(labels={}), None, False, id="no part any more"),
        pytest.param(BEFORE, deployment(**OWNER), None, False, id="owned"),
        pytest.param(None, deployment(**OWNER), None, False, id="new and owned"),
        pytest.param(webhooks(HOOK), webhooks(), webhooks(HOOK), True, id="emptied"),
        pytest.param(webhooks(HOOK), webhooks({**HOOK, "rules": []}), webhooks(HOOK), True, id="without rules"),
        pytest.param(webhooks(HOOK), webhooks(**LEAVING), webhooks(HOOK), False, id="emptied and being deleted"),
        pytest.param(None, webhooks(), None, False, id="new and empty"),
        pytest.param(webhooks(HOOK), webhooks(HOOK, HOOK), webhooks(HOOK, HOOK), False, id="another webhook"),
        pytest.param(None, webhooks(HOOK, name="other"), None, False, id="somebody's configuration"),
    ],
)
def test_what_follows_is_as_the_table_says(
    good: LiveObject | None, there: LiveObject | None, then: LiveObject | None, lost: bool
) -> None:
    look = compared(remembered(good) if good else {}, [there] if there else [])

    assert look.good == (remembered(then) if then else {})
    assert bool(look.lost) is lost


def test_what_is_lost_comes_back_before_what_calls_it() -> None:
    look = compared(remembered(*reversed(WHOLE)), [])

    assert [ref.kind for ref in look.lost] == [each.ref.kind for each in WHOLE]


def test_nothing_is_remembered_that_the_cluster_gave_it() -> None:
    annotations = {"deployment.kubernetes.io/revision": "3", "meta.helm.sh/release-name": "gatekeeper"}
    labels = {**SYSTEM, "app.kubernetes.io/managed-by": "Helm"}

    assert restorable(deployment(annotations=annotations, labels=labels, finalizers=["a/b"])) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "gatekeeper-audit",
            "namespace": "gatekeeper-system",
            "labels": labels,
            "annotations": {"meta.helm.sh/release-name": "gatekeeper"},
        },
        "spec": deployment().manifest["spec"],
    }
    assert restorable(service())["spec"] == {"ports": [{"port": 443}]}
    headless = service(clusterIP="None", clusterIPs=["None"])
    assert restorable(headless)["spec"] == {"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 443}]}
    assert restorable(webhooks(HOOK))["webhooks"] == [HOOK]


# --- webhooks that no longer ask -------------------------------------------------------------------------------------

PODS: Final = Evidence({VALIDATING: {("", "Pod")}, MUTATING: {("", "Pod")}})
NARROWED: Final = {**HOOK, "rules": [{**HOOK["rules"][0], "resources": ["secrets"]}]}  # type: ignore[index]
SLOWER: Final = {**NARROWED, "timeoutSeconds": 9}
CONDITIONED: Final = {**HOOK, "matchConditions": [{"name": "never", "expression": "false"}]}
CONTRADICTED: Final = {
    **HOOK,
    "namespaceSelector": {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "DoesNotExist"}]},
}
OTHER: Final = {**HOOK, "name": "check-ignore-label.gatekeeper.sh"}


@pytest.mark.parametrize(
    ("good", "there", "evidence", "then", "lost"),
    [
        pytest.param(HOOK, OTHER, PODS, HOOK, True, id="its webhook taken out"),
        pytest.param(HOOK, CONTRADICTED, PODS, HOOK, True, id="a selector that selects nothing"),
        pytest.param(HOOK, NARROWED, PODS, HOOK, True, id="what policies look at taken out of the rules"),
        pytest.param(HOOK, NARROWED, Evidence(), NARROWED, False, id="what no policy looks at taken out"),
        pytest.param(HOOK, NARROWED, Evidence(None), HOOK, False, id="what policies look at is not known"),
        pytest.param(NARROWED, HOOK, PODS, HOOK, False, id="mended"),
        pytest.param(NARROWED, SLOWER, PODS, SLOWER, False, id="no worse"),
        pytest.param(None, NARROWED, PODS, NARROWED, False, id="new, and not for all"),
        pytest.param(None, OTHER, PODS, None, False, id="new, without its webhook"),
        pytest.param(None, CONTRADICTED, PODS, None, False, id="new, and selects nothing"),
        pytest.param(HOOK, CONDITIONED, replace(PODS, proven=lambda _: None), HOOK, False, id="not proven yet"),
        pytest.param(HOOK, CONDITIONED, replace(PODS, proven=lambda _: False), HOOK, True, id="seen not to enforce"),
        pytest.param(HOOK, CONDITIONED, replace(PODS, proven=lambda _: True), CONDITIONED, False, id="proven"),
        pytest.param(HOOK, HOOK, replace(PODS, proven=lambda _: False), HOOK, False, id="remembered, and not at fault"),
    ],
)  # fmt: skip
def test_what_does_not_enforce_is_not_remembered_and_what_did_comes_back(
    good: Mapping[str, Any] | None,
    there: Mapping[str, Any],
    evidence: Evidence,
    then: Mapping[str, Any] | None,
    lost: bool,
) -> None:
    look = compared(remembered(webhooks(good)) if good else {}, [webhooks(there)], evidence)

    assert look.good == (remembered(webhooks(then)) if then else {})
    assert bool(look.lost) is lost


async def test_webhooks_that_no_longer_ask_are_put_back_even_where_the_change_was_only_watched(api: Cluster) -> None:
    watchman = Watchman(api)
    await watchman.look()
    broken = webhooks(OTHER, labels={**SYSTEM, "new": "label"})
    api.install(broken)
    watchman.guard._observed(broken.ref, broken)

    await watchman.look()

    assert api.part(broken) == restorable(webhooks(HOOK, labels={**SYSTEM, "new": "label"}))
    assert watchman.told == [(str(broken.ref), "its webhooks did not enforce")]
    assert load(api._objects[KEPT]["data"]["objects.json"]) == remembered(*WHOLE[:2], webhooks(HOOK), WHOLE[3])


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_again() -> None:
    good = remembered(*WHOLE)

    assert load(dump(good)) == good
    assert dump(dict(reversed(good.items()))) == dump(good)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "1",
        "{}x",
        "[1]",
        '["a"]',
        "[[]]",
        "[" * 100_000,
        '[{"apiVersion": "v1"}]',
        '[{"apiVersion": 1, "kind": "Service", "metadata": {"name": "a"}}]',
        json.dumps([{**restorable(deployment()), "kind": "Pod", "apiVersion": "v1"}]),
        json.dumps(
            [{**restorable(deployment()), "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding"}]
        ),
        json.dumps([restorable(deployment(labels={"a": "b"}))]),
        json.dumps([restorable(webhooks(HOOK, name="other"))]),
        json.dumps([restorable(webhooks())]),
        json.dumps([{**restorable(deployment()), "status": {}}]),
        json.dumps([{**restorable(deployment()), "metadata": {"name": "a", "labels": SYSTEM, "uid": "u"}}]),
        json.dumps([{**restorable(deployment()), "spec": None}]),
        json.dumps([{**restorable(deployment()), "spec": {"replicas": 1}}]),
        json.dumps([{**restorable(deployment()), "spec": {"template": {"spec": []}}}]),
        json.dumps([{**restorable(deployment()), "metadata": {**restorable(deployment())["metadata"], "name": 1}}]),
        json.dumps([{**restorable(deployment()), "metadata": {**restorable(deployment())["metadata"], "name": ["a"]}}]),
        json.dumps([{**restorable(webhooks(HOOK)), "webhooks": 7}]),
        json.dumps([{**restorable(webhooks(HOOK)), "webhooks": [7]}]),
        json.dumps([{**restorable(webhooks(HOOK)), "webhooks": [{"rules": [1]}]}]),
        json.dumps([{**restorable(webhooks(HOOK)), "webhooks": [{"rules": [1], "clientConfig": {"service": "a"}}]}]),
        json.dumps([restorable(deployment(namespace="kube-system"))]),
    ],
)
def test_what_is_no_part_of_gatekeeper_is_never_read(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        load(text)


@pytest.mark.parametrize("value", [None, True, 1, "", "a", "\ud800", [], ["a"], [None], {}, {"a": 1}], ids=repr)
async def test_whatever_stands_at_any_place_is_refused_or_can_be_worked_with(value: Any) -> None:
    document = json.loads(dump(remembered(*WHOLE)))
    seen = {"read": 0, "refused": 0}
    for place in list(places(document))[1:]:
        changed = copy.deepcopy(document)
        put(changed, place, value)
        api = Cluster()
        api.install()
        await config_map(api, json.dumps(changed))
        try:
            load(json.dumps(changed))
        except ValueError:
            seen["refused"] += 1
        else:
            seen["read"] += 1
        await Watchman(api).look()

    assert min(seen.values()) > 0, seen


async def config_map(api: FakeApi, text: str) -> None:
    """Somebody writes what is remembered."""
    body = {"kind": "ConfigMap", "metadata": {"name": NAME}, "data": {"objects.json": text}}
    await api.request("POST", KEPT.rpartition("/")[0], body=body)


# --- a cluster -------------------------------------------------------------------------------------------------------


class Cluster(FakeApi):
    """With Gatekeeper in it."""

    def install(self, *parts: LiveObject) -> None:
        """Puts parts there as somebody made them, and all that tells that Gatekeeper is installed."""
        for each in parts:
            self._objects[path_of(each)] = copy.deepcopy(dict(each.manifest))
        for path in (HOME, TEMPLATES, ACCOUNT):
            self._objects[path] = {"kind": "Any", "metadata": {"name": path.rpartition("/")[2], "uid": path}}

    def part(self, live: LiveObject) -> Mapping[str, Any] | None:
        """What stands there, as it is remembered."""
        there = self._objects.get(path_of(live))
        return None if there is None else restorable(LiveObject(live.ref, there))

    def written(self) -> list[tuple[str, str]]:
        return [(call.method, call.path) for call in self.calls if call.method != "GET"]


def path_of(live: LiveObject) -> str:
    resource = {each.kind: each for each in (SERVICE, DEPLOYMENT, VALIDATING, MUTATING)}[live.ref.kind]
    return resource.path(live.ref.name)


class Watchman:
    """A guard, and what it told."""

    def __init__(self, api: FakeApi) -> None:
        self.writes = True
        self.told: list[tuple[str, str]] = []
        store = ComponentStore(api, NAMESPACE, MARKS)
        self.guard = Guard(api, store, writes=lambda: self.writes, restored=self._restored)

    def _restored(self, ref: ObjectRef, why: str) -> None:
        self.told.append((str(ref), why))

    async def look(self) -> float:
        return await self.guard.look()


@pytest.fixture
def api() -> Cluster:
    made = Cluster()
    made.install(*WHOLE)
    return made


async def test_what_was_deleted_comes_back_as_it_was_seen_last(api: Cluster) -> None:
    watchman = Watchman(api)
    await watchman.look()
    api.install(UPGRADED)
    await watchman.look()
    for each in WHOLE:
        api.drop(path_of(each))

    await watchman.look()

    assert [api.part(each) for each in (service(), UPGRADED, *WHOLE[2:])] == [
        restorable(each) for each in (service(), UPGRADED, *WHOLE[2:])
    ]
    assert [why for _, why in watchman.told] == ["it was deleted"] * 4


async def test_webhooks_that_were_taken_out_are_put_back_into_the_object_that_is_there(api: Cluster) -> None:
    watchman = Watchman(api)
    await watchman.look()
    api.install(webhooks(labels={**SYSTEM, "new": "label"}))

    await watchman.look()

    assert api.part(webhooks(HOOK)) == restorable(webhooks(HOOK, labels={**SYSTEM, "new": "label"}))
    assert watchman.told == [(str(webhooks().ref), "its webhooks were removed")]


async def test_webhooks_come_back_once_somebody_answers_them(api: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """Without that, who deletes the webhooks of a Gatekeeper that is down would have them refuse everything again."""
    watchman = Watchman(api)
    called = {"namespace": "gatekeeper-system", "name": "hook", "path": "/v1/admit"}
    of_the_service = webhooks({**HOOK, "clientConfig": {"service": called}})
    api.install(of_the_service)
    await watchman.look()
    api.drop(path_of(of_the_service))

    waits = [await watchman.look(), await watchman.look()]

    assert api.part(of_the_service) is None
    assert waits == [ANSWER_SECONDS] * 2
    assert caplog.text.count("not restored yet: service hook has no ready endpoint") == 1
    slices = "/apis/discovery.k8s.io/v1/namespaces/gatekeeper-system/endpointslices"
    ready = {"kind": "EndpointSlice", "metadata": {"name": "hook-1"}, "endpoints": [{"conditions": {"ready": True}}]}
    await api.request("POST", slices, body=ready)
    await watchman.look()
    assert api.part(of_the_service) == restorable(of_the_service)


async def test_a_change_that_was_only_watched_is_what_comes_back(api: Cluster) -> None:
    watchman = Watchman(api)
    await watchman.look()

    watchman.guard._observed(UPGRADED.ref, UPGRADED)
    api.drop(path_of(deployment()))
    await watchman.look()

    assert api.part(deployment()) == restorable(UPGRADED)


async def test_another_guard_goes_on_with_what_the_one_before_it_saw(api: Cluster) -> None:
    await Watchman(api).look()
    api.drop(path_of(deployment()))

    await Watchman(api).look()

    assert api.part(deployment()) == restorable(deployment())


async def test_a_look_at_what_is_as_it_was_writes_nothing(api: Cluster) -> None:
    watchman = Watchman(api)
    await watchman.look()
    written_once, asked = api.written(), len(api.calls)

    await watchman.look()

    assert [call.path for call in api.calls[asked:]] == [each.path() for each in GUARDED]
    await Watchman(api).look()
    assert [method for method, _ in written_once] == ["POST"]
    assert api.written() == written_once


@pytest.mark.parametrize("gone", [HOME, TEMPLATES, ACCOUNT])
@pytest.mark.parametrize("how", ["deleted", "being deleted"])
async def test_a_gatekeeper_that_was_uninstalled_is_forgotten(
    api: Cluster, gone: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    watchman = Watchman(api)
    await watchman.look()
    if how == "deleted":
        api.drop(gone)
    else:
        api.merge(gone, {"metadata": LEAVING})
    for each in (webhooks(), deployment()):
        api.drop(path_of(each))

    await watchman.look()
    api.install()
    await watchman.look()
    await Watchman(api).look()

    assert "Gatekeeper is uninstalled" in caplog.text
    assert watchman.told == []
    assert (api.part(webhooks()), api.part(deployment())) == (None, None)


async def test_what_may_not_be_read_is_no_sign_of_an_uninstallation(api: Cluster) -> None:
    watchman = Watchman(api)
    await watchman.look()
    api.drop(path_of(deployment()))
    for path in (HOME, TEMPLATES, ACCOUNT):
        api.at("GET", path, status(403, "forbidden", "Forbidden"))

    await watchman.look()

    assert api.part(deployment()) == restorable(deployment())


async def test_while_it_must_not_write_it_tells_once_and_mends_it_later(
    api: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    watchman = Watchman(api)
    await watchman.look()
    watchman.writes = False
    before = api.written()
    api.drop(path_of(deployment()))
    api.install(webhooks())

    await watchman.look()
    await watchman.look()

    assert api.written() == before
    assert [record.getMessage() for record in caplog.records] == [
        f"{each.ref} of Gatekeeper was deleted or emptied; nothing is restored now" for each in WHOLE[1:3]
    ]
    watchman.writes = True
    await watchman.look()
    assert api.part(deployment()) == restorable(deployment())


async def test_one_part_that_cannot_be_made_holds_up_no_other(api: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    watchman = Watchman(api)
    await watchman.look()
    for each in WHOLE:
        api.drop(path_of(each))
    api.at("POST", "/services", status(403, "services is forbidden", "Forbidden"), times=2)

    await watchman.look()
    await watchman.look()

    assert [ref for ref, _ in watchman.told] == [str(each.ref) for each in WHOLE[1:]]
    assert caplog.text.count("services is forbidden") == 1
    await watchman.look()
    assert api.part(service()) == restorable(service())
    await watchman.look()
    api.drop(path_of(service()))
    api.at("POST", "/services", status(403, "services is forbidden", "Forbidden"))
    await watchman.look()
    assert caplog.text.count("services is forbidden") == 2


async def test_who_is_faster_is_left_alone(api: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    watchman = Watchman(api)
    await watchman.look()
    api.drop(path_of(deployment()))
    api.at("POST", "/deployments", act=lambda: api.install(UPGRADED))

    await watchman.look()
    await watchman.look()
    api.drop(path_of(deployment()))
    await watchman.look()

    assert api.part(deployment()) == restorable(UPGRADED)
    assert len(watchman.told) == 1
    assert "cannot" not in caplog.text


async def test_what_is_deleted_again_and_again_comes_back_ever_more_slowly(
    api: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    watchman = Watchman(api)
    await watchman.look()
    waits = []
    for _ in range(8):
        if api.part(service()):
            api.drop(path_of(service()))
        waits.append(await watchman.look())

    assert len(watchman.told) == 5
    assert waits[:5] == [LOOK_SECONDS] * 5
    assert all(0 < wait <= 1 for wait in waits[5:])
    assert caplog.text.count("somebody keeps deleting") == 1


async def test_what_cannot_be_used_is_told_and_written_anew(api: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    await Watchman(api).look()
    api.merge(KEPT, {"data": {"objects.json": "[1]"}})

    await Watchman(api).look()

    assert "the record of Gatekeeper is not used" in caplog.text
    assert load(api._objects[KEPT]["data"]["objects.json"]) == remembered(*WHOLE)


async def test_what_cannot_be_kept_is_mended_all_the_same_and_kept_later(api: Cluster) -> None:
    watchman = Watchman(api)
    await watchman.look()
    api.install(UPGRADED)
    api.drop(path_of(service()))
    api.at("PUT", NAME, status(403, "configmaps is forbidden", "Forbidden"))

    with pytest.raises(ClusterError, match="recording Gatekeeper"):
        await watchman.look()

    assert api.part(service()) == restorable(service())
    await watchman.look()
    assert load(api._objects[KEPT]["data"]["objects.json"])[UPGRADED.ref] == restorable(UPGRADED)


async def test_what_was_kept_before_is_kept_again_after_a_write_of_which_nothing_is_known(api: Cluster) -> None:
    watchman = Watchman(api)
    await watchman.look()
    before = api._objects[KEPT]["data"]
    api.install(UPGRADED)
    written_all_the_same = lambda: api.merge(KEPT, {"data": {"objects.json": "[]"}})  # noqa: E731
    api.at("PUT", NAME, status(500, "etcd is away", "InternalError"), act=written_all_the_same)
    with pytest.raises(ClusterError):
        await watchman.look()

    api.install(deployment())
    await watchman.look()

    assert api._objects[KEPT]["data"] == before


async def test_a_list_that_fails_is_no_deletion(api: Cluster) -> None:
    watchman = Watchman(api)
    await watchman.look()
    before = api.written()
    api.at("GET", "/services", status(500, "etcd is away", "InternalError"))

    with pytest.raises(ClusterError):
        await watchman.look()

    assert api.written() == before


async def test_switched_off_it_forgets(api: Cluster) -> None:
    await Watchman(api).look()

    await ComponentStore(api, NAMESPACE, MARKS).forget()
    await ComponentStore(api, NAMESPACE, MARKS).forget()

    assert KEPT not in api.paths
    assert [method for method, _ in api.written()] == ["POST", "DELETE"]
    assert await ComponentStore(api, NAMESPACE, MARKS).load() == {}


async def test_what_must_not_be_forgotten_is_told(api: Cluster) -> None:
    await Watchman(api).look()
    api.at("DELETE", NAME, status(403, "configmaps is forbidden", "Forbidden"))

    with pytest.raises(ClusterError, match="forbidden"):
        await ComponentStore(api, NAMESPACE, MARKS).forget()


# --- when it looks ---------------------------------------------------------------------------------------------------


class Looks(Guard):
    """A guard of which only the times of its looks are of interest; nobody answers the first `failing` ones."""

    def __init__(self, failing: int = 0) -> None:
        api = FakeApi()
        super().__init__(api, ComponentStore(api, NAMESPACE, MARKS), writes=lambda: True, restored=lambda *_: None)
        self.at: list[float] = []
        self._failing = failing

    async def look(self) -> float:
        self.at.append(round(clock()))
        if len(self.at) <= self._failing:
            raise ClusterError("nobody answers")
        return LOOK_SECONDS

    def deleted(self) -> None:
        """A watch event."""
        self._observed(BEFORE.ref, None)


@pytest.mark.parametrize(
    ("events", "failing", "looks"),
    [
        pytest.param([], 0, [2, 34, 66], id="nothing happens"),
        pytest.param([20], 0, [2, 22, 54], id="one deletion"),
        pytest.param([20, 21, 22, 23], 0, [2, 25, 57], id="an uninstallation"),
        pytest.param(list(range(20, 40)), 0, [2, 30, 41], id="no end of it"),
        pytest.param([33], 0, [2, 35, 67], id="a deletion before a look that was due"),
        pytest.param([], 2, [2, 9, 16, 48], id="nobody answers"),
    ],
)
def test_it_looks_now_and_then_and_soon_after_something_happened_but_not_amid(
    events: list[int], failing: int, looks: list[int]
) -> None:
    guard = Looks(failing)

    look_while(guard, events, guard.deleted)

    assert guard.at[: len(looks)] == looks


def test_it_looks_soon_after_somebody_resumes() -> None:
    guard = Looks()

    look_while(guard, [20], guard.wake)

    assert guard.at[:3] == [2, 22, 54]


def look_while(guard: Looks, events: list[int], happens: Callable[[], None]) -> None:
    """Lets it look for 70 s, in which something happens at these times."""

    @in_virtual_time
    async def run() -> None:
        looking = asyncio.create_task(guard._looks())
        for event in events:
            await asyncio.sleep(event - clock())
            happens()
        await asyncio.sleep(70 - clock())
        looking.cancel()

    run()
