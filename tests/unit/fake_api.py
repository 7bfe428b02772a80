"""An API server in memory, with Gatekeeper behind it: it does what a real one does, at the moment a test says.

Below the client's retries and above the network: what is tested is the client and the Applier as they are. It keeps
uids, generations, resourceVersions and field managers, refuses stale writes, and lets others act before a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import pickle
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from controller.bounded_json import is_cut
from controller.cluster.client import Connection, KubeClient, Response, WatchEvent
from controller.cluster.kinds import CRD_PATH, TEMPLATE, LiveObject, kind_of, template_kind
from controller.cluster.report_objects import REPORT_APIS
from controller.gatekeeper.naming import CONSTRAINT_GROUP, CONSTRAINT_VERSION, TEMPLATE_GROUP
from tests.unit.azure_builders import put

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from controller.cluster.kinds import Resource
    from controller.errors import ClusterError
    from controller.gatekeeper.model import ObjectRef

_T = TypeVar("_T")

BAD_REGO = "does not compile"
_NAMESPACE = re.compile(r"/namespaces/[^/]+(?=/)")


@dataclass
class Step:
    """What happens at a request that fits: `act` runs before it, `answer` is given instead of it; `times` times."""

    method: str
    path: str
    answer: Response | None = None
    act: Callable[[], object] = lambda: None
    times: int = 1


@dataclass
class Call:
    """A request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any = field(repr=False)
    by_metadata: bool = False


def status(code: int, message: str, reason: str = "", retry_after: float | None = None) -> Response:
    """An answer that is no object."""
    return Response(code, {"kind": "Status", "message": message, "reason": reason}, retry_after)


def _copy(document: _T) -> _T:
    """One that shares nothing with it; copy.deepcopy takes 4 times as long."""
    copied: _T = pickle.loads(pickle.dumps(document, pickle.HIGHEST_PROTOCOL))
    return copied


class FakeApi(KubeClient):
    """Objects by their path; a test reads and edits them as another user would.

    `hidden` are names of templates whose CustomResourceDefinition is there and not served, `unheard` of those on which
    Gatekeeper does not report yet, `troubled` of those on which it reports an error that passes.
    """

    def __init__(self) -> None:
        super().__init__(Connection())
        self.calls: list[Call] = []
        self.gatekeeper_enforces = True
        self.hidden: set[str] = set()
        self.unheard: set[str] = set()
        self.troubled: set[str] = set()
        self._objects: dict[str, Any] = {}
        self._crd_kinds: dict[str, str] = {}
        self._steps: list[Step] = []
        self._versions = itertools.count(100)
        self._latest = 100
        self._uids = itertools.count(1)
        self._log: list[tuple[int, str, Mapping[str, Any]]] = []
        self._news = asyncio.Condition()
        self._watch_errors: dict[str, ClusterError] = {}

    # --- what a test does ----------------------------------------------------------------------------------------

    def put(self, live: LiveObject) -> LiveObject:
        """Makes an object as it is given, with a new uid, whatever was there."""
        path = kind_of(live.ref).path(live.ref.name)
        self._objects[path] = _copy(dict(live.manifest))
        self._objects[path]["metadata"] |= {"uid": f"made-{next(self._uids)}", "generation": 1}
        self._written(path)
        return self.found(live.ref)

    def edit(self, ref: ObjectRef, **spec: Any) -> None:
        """Somebody changes a spec."""
        path = kind_of(ref).path(ref.name)
        self._objects[path]["spec"] |= spec
        self._objects[path]["metadata"]["generation"] += 1
        self._written(path)

    def hears_of(self, ref: ObjectRef) -> None:
        """Gatekeeper takes up a template that it had not reported on, or not well."""
        self.unheard.discard(ref.name)
        self.troubled.discard(ref.name)
        self._written(kind_of(ref).path(ref.name))

    def touch(self, ref: ObjectRef) -> None:
        """A write of the status: only the resourceVersion moves."""
        path = kind_of(ref).path(ref.name)
        self._objects[path]["metadata"]["resourceVersion"] = self._next_version()
        self._happened(path)

    def remove(self, ref: ObjectRef) -> None:
        """Takes an object away; a template takes its kind along."""
        self._gone(kind_of(ref).path(ref.name))

    def place(self, path: str, manifest: Mapping[str, Any]) -> None:
        """Puts an object of any kind at a path."""
        self._objects[path] = {
            **_copy(dict(manifest)),
            "metadata": {"uid": f"made-{next(self._uids)}", **manifest.get("metadata", {})},
        }
        self._objects[path]["metadata"] |= {"generation": 1, "resourceVersion": self._next_version()}
        self._happened(path)

    def seed(self, path: str, document: Mapping[str, Any]) -> None:
        """Puts a document at a path as it is, whatever is wrong with it."""
        self._objects[path] = _copy(dict(document))

    def drop(self, path: str) -> None:
        """Takes away whatever is at a path."""
        self._gone(path)

    def read(self, path: str) -> Mapping[str, Any]:
        """Whatever is at a path, as it is now."""
        found: Mapping[str, Any] = _copy(self._objects[path])
        return found

    def merge(self, path: str, changes: Mapping[str, Any]) -> None:
        """Somebody changes an object of any kind."""
        self._objects[path] = _merged(self._objects[path], changes)
        self._objects[path]["metadata"]["resourceVersion"] = self._next_version()
        self._happened(path)

    def tamper(self, path: str, place: tuple[str | int, ...], value: Any) -> None:
        """Somebody puts anything at a place of an object, but for what is the API server's own."""
        changed = _copy(self._objects[path])
        put(changed, place, value)
        own = {key: self._objects[path]["metadata"][key] for key in ("name", "uid", "generation")}
        own["generation"] += place[0] != "status"
        self._objects[path] = {**changed, "metadata": {**changed["metadata"], **own}}
        self._objects[path]["metadata"]["resourceVersion"] = self._next_version()
        self._happened(path)

    def backup(self) -> tuple[int, Mapping[str, Any]]:
        """All that is stored now, as a backup of etcd has it."""
        return self._latest, _copy(self._objects)

    def restore(self, kept: tuple[int, Mapping[str, Any]]) -> None:
        """Goes back to a backup; versions are counted on from there."""
        self._latest, self._objects = kept[0], _copy(dict(kept[1]))
        self._versions = itertools.count(self._latest + 1)

    def break_watch(self, kind: Resource, error: ClusterError) -> None:
        """Ends the open watch of a kind, or else the next one, by an error."""
        self._watch_errors[kind.path()] = error
        self._notify()

    @property
    def paths(self) -> set[str]:
        """Where there is an object."""
        return set(self._objects)

    def found(self, ref: ObjectRef) -> LiveObject:
        """The object as it is now."""
        return LiveObject(ref, _copy(self._objects[kind_of(ref).path(ref.name)]))

    def has(self, ref: ObjectRef) -> bool:
        """Whether it is there."""
        return kind_of(ref).path(ref.name) in self._objects

    def at(
        self,
        method: str,
        path: str,
        answer: Response | None = None,
        *,
        act: Callable[[], object] = lambda: None,
        times: int = 1,
    ) -> None:
        """Says what happens at the next requests whose method is this one and whose path ends so."""
        self._steps.append(Step(method, path, answer, act, times))

    def count(self, method: str) -> int:
        """How many requests of a method came, dry runs apart."""
        return sum(call.method == method and "dryRun" not in call.query for call in self.calls)

    # --- what the server does ------------------------------------------------------------------------------------

    async def _once(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None, *, by_metadata: bool
    ) -> Response:
        self.calls.append(Call(method, path, query, body, by_metadata))
        # A list of one is asked about that one.
        about = path + query.get("fieldSelector", "").replace("metadata.name=", "/")
        for step in self._steps:
            if step.times and step.method == method and any(each.endswith(step.path) for each in (path, about)):
                step.times -= 1
                step.act()
                if step.answer is not None:
                    return step.answer
                break
        dry = "dryRun" in query
        match method:
            case "GET":
                found = self._get(path, query.get("fieldSelector", ""))
                if by_metadata and "items" in found.body:
                    items = [{"metadata": each["metadata"]} for each in found.body["items"]]
                    found = replace(found, body={**found.body, "items": items})
                return replace(found, cut=is_cut(dict(found.body)))
            case "POST":
                assert body is not None
                return self._create(path, body, dry=dry)
            case "PUT":
                assert body is not None
                return self._replace(path, body, dry=dry)
            case "PATCH":
                assert body is not None
                return self._patch(path, body)
            case _:
                return self._delete(path, body or {})

    def _get(self, path: str, selector: str) -> Response:
        if path in self._objects:
            return Response(200, _copy(self._objects[path]))
        if path == f"/apis/{CONSTRAINT_VERSION}":
            return self._constraint_kinds()
        if path == f"/apis/{TEMPLATE.api_version}":
            return Response(200, {"kind": "APIResourceList", "resources": []})
        if reported := [kind for api in REPORT_APIS for kind in api.kinds if path == f"/apis/{kind.api_version}"]:
            return Response(200, {"kind": "APIResourceList", "resources": [{"name": kind.plural} for kind in reported]})
        if path == CRD_PATH:
            made = [template_kind(each).lower() for at, each in self._objects.items() if "/constrainttemplates/" in at]
            crds = [{"metadata": {"name": f"{name}.{CONSTRAINT_GROUP}"}} for name in made]
            return Response(200, {"kind": "List", "metadata": {"resourceVersion": str(self._latest)}, "items": crds})
        if path.startswith(CRD_PATH):
            return self._crd(path.removeprefix(f"{CRD_PATH}/").partition(".")[0])
        name = selector.replace("metadata.name=", "/")
        listed = [k for k in self._objects if path in _collections(k) and k.endswith(name)]
        items = [_copy(self._objects[k]) for k in listed]
        plural = path.rpartition("/")[2]
        served = CONSTRAINT_GROUP not in path or plural in self._crd_kinds.keys() - self.hidden
        if _NAMESPACE.sub("", path).count("/") == (3 if path.startswith("/api/") else 4) and served:
            return Response(200, {"kind": "List", "metadata": {"resourceVersion": str(self._latest)}, "items": items})
        return status(404, f"{path} not found", "NotFound")

    def _constraint_kinds(self) -> Response:
        """Discovery: a kind for each template."""
        served = {name: kind for name, kind in self._crd_kinds.items() if name not in self.hidden}
        resources = [{"name": name, "kind": kind, "verbs": ["list"]} for name, kind in served.items()]
        return Response(200, {"kind": "APIResourceList", "resources": resources})

    def _crd(self, name: str) -> Response:
        if name not in self._crd_kinds:
            return status(404, "not found", "NotFound")
        established = {"conditions": [{"type": "Established", "status": "True"}]}
        metadata = {"name": name}
        crd = {"kind": "CustomResourceDefinition", "metadata": metadata, "status": established}
        crd["spec"] = {"versions": [], "names": {"kind": self._crd_kinds[name]}}
        return Response(200, crd)

    def _create(self, path: str, body: Mapping[str, Any], *, dry: bool) -> Response:
        name = f"{path}/{body['metadata']['name']}"
        if name in self._objects:
            return status(409, f"{name} already exists", "AlreadyExists")
        made = _copy(dict(body))
        made["metadata"] |= {"uid": f"made-{next(self._uids)}", "generation": 1}
        return self._store(name, made, dry=dry)

    def _replace(self, path: str, body: Mapping[str, Any], *, dry: bool) -> Response:
        of_status = path.endswith("/status")
        path = path.removesuffix("/status")
        there = self._objects.get(path)
        if there is None:
            return status(404, f"{path} not found", "NotFound")
        if of_status:
            return self._store(path, {**_copy(there), "status": _copy(body.get("status"))}, dry=dry)
        meta, given = there["metadata"], body["metadata"]
        if given.get("resourceVersion") != meta["resourceVersion"] or given.get("uid") != meta["uid"]:
            return status(409, "the object has been modified; please apply your changes to the latest", "Conflict")
        made = _copy(dict(body))
        made["metadata"]["managedFields"] = meta.get("managedFields") or []
        made["metadata"]["generation"] = meta["generation"] + (made.get("spec") != there.get("spec"))
        return self._store(path, made, dry=dry)

    def _patch(self, path: str, changes: Mapping[str, Any]) -> Response:
        """A merge patch."""
        there = self._objects.get(path)
        if there is None:
            return status(404, f"{path} not found", "NotFound")
        made = _merged(there, changes)
        made["metadata"]["generation"] += made.get("spec") != there.get("spec")
        return self._store(path, made, dry=False)

    def _store(self, path: str, made: dict[str, Any], *, dry: bool) -> Response:
        entries = made["metadata"].setdefault("managedFields", [])
        if not any(entry["manager"] == "azure-policy-sync" for entry in entries):
            made["metadata"]["managedFields"] = [*entries, {"manager": "azure-policy-sync", "operation": "Update"}]
        if dry:
            return Response(200, made)
        self._objects[path] = made
        if "deletionTimestamp" in made["metadata"] and not made["metadata"].get("finalizers"):
            self._gone(path)
            return Response(200, _copy(made))
        self._written(path)
        return Response(200, _copy(made))

    def _delete(self, path: str, options: Mapping[str, Any]) -> Response:
        there = self._objects.get(path)
        if there is None:
            return status(404, f"{path} not found", "NotFound")
        if options["preconditions"]["uid"] != there["metadata"]["uid"]:
            return status(409, "Precondition failed: UID in precondition differs", "Conflict")
        if there["metadata"].get("finalizers"):
            there["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
            there["metadata"]["resourceVersion"] = self._next_version()
            self._happened(path)
            return Response(200, _copy(there))
        self._gone(path)
        return Response(200, {"kind": "Status", "status": "Success"})

    def _written(self, path: str) -> None:
        """Gatekeeper takes a write up at once: what it says is of this uid and generation."""
        there = self._objects[path]
        there["metadata"]["resourceVersion"] = self._next_version()
        said = {"observedGeneration": there["metadata"]["generation"]}
        if TEMPLATE_GROUP in path:
            # A CustomResourceDefinition keeps the kind that it was made with.
            name = path.rpartition("/")[2]
            self._crd_kinds.setdefault(name, template_kind(there))
            errors = []
            if BAD_REGO in json.dumps(there["spec"]):
                errors.append({"code": "ingest_error", "message": "rego_parse_error"})
            if name in self.troubled:
                errors.append({"code": "create_error", "message": "it is there already"})
            entries = [{**said, "templateUID": there["metadata"]["uid"], "errors": errors}]
            there["status"] = {"byPod": entries if name not in self.unheard else []}
        elif CONSTRAINT_GROUP in path:
            there["status"] = {"byPod": [{**said, "enforced": self.gatekeeper_enforces}]}
        self._happened(path)

    # --- watches -------------------------------------------------------------------------------------------------

    async def watch(
        self, kind: Resource, resource_version: str, *, seconds: int = 290
    ) -> AsyncGenerator[WatchEvent, None]:
        """Events of a kind since a version, as they come; ends after `seconds`, or by the error that a test gave."""
        self.calls.append(Call("WATCH", kind.path(), {"resourceVersion": resource_version}, None))
        since, read, clock = int(resource_version), 0, asyncio.get_running_loop().time

        def has_news() -> bool:
            return read < len(self._log) or kind.path() in self._watch_errors

        until = clock() + seconds
        while (left := until - clock()) > 0:
            if error := self._watch_errors.pop(kind.path(), None):
                raise error
            while read < len(self._log):
                version, path, event = self._log[read]
                read += 1
                if version > since and kind.path() in _collections(path):
                    position = event["object"]["metadata"]["resourceVersion"]
                    live = self._live(kind, event["object"], cut=is_cut(event["object"]))
                    if event["type"] == "DELETED":
                        self._cache.gone(kind, live)
                    yield WatchEvent(event["type"], live, position)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left), self._news:
                    await self._news.wait_for(has_news)

    def _next_version(self) -> str:
        self._latest = next(self._versions)
        return str(self._latest)

    def _gone(self, path: str) -> None:
        """Takes an object away; a template takes its kind along, and that its objects."""
        there = self._objects.pop(path)
        there["metadata"]["resourceVersion"] = self._next_version()
        self._log.append((self._latest, path, {"type": "DELETED", "object": there}))
        self._notify()
        if TEMPLATE_GROUP in path:
            name = path.rpartition("/")[2]
            self._crd_kinds.pop(name, None)
            for each in [each for each in self._objects if f"{CONSTRAINT_VERSION}/{name}/" in each]:
                if not self._objects[each]["metadata"].get("finalizers"):
                    self._gone(each)

    def _happened(self, path: str) -> None:
        self._log.append((self._latest, path, {"type": "MODIFIED", "object": _copy(self._objects[path])}))
        self._notify()

    def _notify(self) -> None:
        """Wakes the open watches; a test without a running loop has none."""
        with contextlib.suppress(RuntimeError):
            self._notifying = asyncio.get_running_loop().create_task(self._wake())

    async def _wake(self) -> None:
        async with self._news:
            self._news.notify_all()


def _collections(path: str) -> tuple[str, str]:
    """The collections that an object is listed in: that of its namespace, and that of all namespaces."""
    collection = path.rpartition("/")[0]
    return collection, _NAMESPACE.sub("", collection)


def _merged(there: Any, changes: Any) -> Any:
    """As RFC 7386 merges: null takes a field away."""
    if not isinstance(there, dict) or not isinstance(changes, dict):
        return _copy(changes)
    merged = {**there, **{key: _merged(there.get(key, {}), value) for key, value in changes.items()}}
    return {key: value for key, value in merged.items() if value is not None}
