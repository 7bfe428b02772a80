"""A simulated API server on loopback, full of constraints as Gatekeeper's audit leaves them: for figures of size.

A real one takes minutes to store thousands of constraints and to audit them, which says nothing of azpolicy. What a
client sees is the same: pages, watches, managedFields of two managers, violations in each constraint's status.

python -m tests.bench.simulated SNAPSHOT PORT    serves until it is ended
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from controller.cluster.kinds import SYNCSET, LiveObject, Resource, kind_of
from controller.config import AzureOptions, SourceOptions
from controller.gatekeeper.model import Role
from controller.gatekeeper.naming import CONSTRAINT_GROUP, FIELD_MANAGER, OwnershipMarks
from controller.source import read_desired_state
from controller.times import utc_now, write_moment
from tests.unit.fake_api import FakeApi

if TYPE_CHECKING:
    from controller.gatekeeper.model import DesiredObject

# Twice those of 50,000 in 5,000 constraints, and Gatekeeper's own default: --constraint-violations-limit.
VIOLATIONS: Final = 20
# What a benchmark asks beside the API: for an audit, which answers its events; and for counts.
AUDIT: Final = "/bench/audit"
EVENTS: Final = "/bench/events"
WRITES: Final = "/bench/writes"
COMPARES: Final = "/bench/compares"
_COUNTS: Final = web.AppKey("counts", Counter)
_FAKE: Final = web.AppKey("fake", FakeApi)
# What kopf asks at its start, and does nothing with.
_DISCOVERY: Final = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "groups": []},
    "/api/v1": {"kind": "APIResourceList", "resources": []},
}


def fields_of(value: Any) -> dict[str, Any]:
    """What managedFields say of a value that one manager set: a key for each field."""
    return {f"f:{key}": fields_of(each) if isinstance(each, dict) else {} for key, each in value.items()}


def stored(wanted: DesiredObject, number: int) -> LiveObject:
    """The object as an API server holds it after a while: written by azpolicy, its status by Gatekeeper."""
    document: Any = wanted.manifest
    manifest: Any = {**document, "metadata": {**document["metadata"]}}
    uid = f"00000000-0000-0000-0000-{number:012}"
    said = {"id": "gatekeeper-audit-5d7c5f7f6b-x2x9k", "observedGeneration": 1, "enforced": True}
    by_pod = [{**said, "constraintUID": uid, "templateUID": uid, "operations": ["audit", "status"]} for _ in range(4)]
    status: dict[str, Any] = {"byPod": by_pod}
    if wanted.role is Role.CONSTRAINT:
        violations = [violation(place) for place in range(VIOLATIONS)]
        status |= {"auditTimestamp": "2026-03-01T12:00:00Z", "totalViolations": VIOLATIONS, "violations": violations}
    ours = {"metadata": {key: manifest["metadata"].get(key, {}) for key in ("labels", "annotations")}}
    entry = {"operation": "Update", "time": "2026-03-01T12:00:00Z", "fieldsType": "FieldsV1"}
    spec = {"spec": manifest["spec"]} if isinstance(manifest.get("spec"), dict) else {}
    manifest["metadata"] |= {
        "creationTimestamp": "2026-03-01T12:00:00Z",
        "managedFields": [
            {**entry, "manager": FIELD_MANAGER, "fieldsV1": fields_of(ours | spec)},
            {**entry, "manager": "gatekeeper", "subresource": "status", "fieldsV1": fields_of({"status": status})},
        ],
    }
    return LiveObject(wanted.ref, {**manifest, "status": status})


def violation(number: int) -> dict[str, Any]:
    """One finding of the audit."""
    name = f"web-{number:02}-7c9f8b6d5-x2x9k"
    return {
        "enforcementAction": "deny",
        "group": "",
        "version": "v1",
        "kind": "Pod",
        "name": name,
        "namespace": f"team-{number:02}",
        "message": f"Container image registry.example.com/shop/web:1.{number} for container web of pod {name} has not"
        " been allowed by any of the given regular expressions.",
    }


def filled(snapshot: Path) -> FakeApi:
    """An API server with all that azpolicy makes of a snapshot."""
    azure = AzureOptions("public", "", "", "", "", "azure-cli", ())
    options = SourceOptions(snapshot, azure, None, "bundle", (), (), None, OwnershipMarks(), ())
    fake = FakeApi()
    for number, wanted in enumerate(asyncio.run(read_desired_state(options)).objects):
        live = stored(wanted, number)
        found = fake.put(live)
        # What the stand-in's Gatekeeper says at once is replaced by what an audit says, of this object.
        status = dict(live.manifest["status"])
        uids = dict.fromkeys(("constraintUID", "templateUID"), found.uid)
        status["byPod"] = [{**each, **uids} for each in status["byPod"]]
        fake.tamper(kind_of(wanted.ref).path(wanted.ref.name), ("status",), status)
    fake._log.clear()
    return fake


async def answer(request: web.Request) -> web.StreamResponse:
    """A request as the stand-in answers it; a list in pages."""
    fake, counts = request.app[_FAKE], request.app[_COUNTS]
    query = dict(request.query)
    if request.path == AUDIT:
        return web.Response(text="\n".join(audit(fake)))
    if request.path in (EVENTS, WRITES, COMPARES):
        return web.json_response({"count": counts[request.path]})
    if request.path in _DISCOVERY:
        return web.json_response(_DISCOVERY[request.path])
    if query.get("watch"):
        return await watched(request, fake, query)
    # A lease is renewed every few seconds, whatever there is to do.
    counts[WRITES] += request.method != "GET" and "dryRun" not in query and "/leases" not in request.path
    # Each full compare lists every kind once.
    counts[COMPARES] += request.path == SYNCSET.path() and "limit" in query and "fieldSelector" not in query
    by_metadata = "PartialObjectMetadataList" in request.headers.get("Accept", "")
    if "limit" in query and "fieldSelector" not in query and (page := paged(fake, request.path, query)):
        if by_metadata:
            page["items"] = [{"metadata": each["metadata"]} for each in page["items"]]
        return web.json_response(page)
    body = await request.json() if request.can_read_body else None
    found = await fake._once(request.method, request.path, query, body, by_metadata=by_metadata)
    fake.calls.clear()
    return web.json_response(found.body, status=found.status)


def audit(fake: FakeApi) -> list[str]:
    """Every constraint's status is written anew, with the same violations; the events of that."""
    moment = write_moment(utc_now())
    begun = len(fake._log)
    for path, found in fake._objects.items():
        if CONSTRAINT_GROUP in path:
            found["metadata"] = {**found["metadata"], "resourceVersion": fake._next_version()}
            found["status"] = {**found["status"], "auditTimestamp": moment}
            # The object as it is now: nothing of it is changed in place.
            fake._log.append((fake._latest, path, {"type": "MODIFIED", "object": dict(found)}))
    fake._notify()
    return [json.dumps(event) for _, _, event in fake._log[begun:]]


def paged(fake: FakeApi, path: str, query: dict[str, str]) -> dict[str, Any]:
    """A page of a collection, without the copies that the stand-in makes; empty where it has nothing there."""
    items = [each for name, each in fake._objects.items() if name.rpartition("/")[0] == path]
    begin = int(query.get("continue", "0"))
    end = begin + int(query["limit"])
    left = len(items) - end
    more = {"continue": str(end), "remainingItemCount": left} if left > 0 else {}
    metadata = {"resourceVersion": str(fake._latest), **more}
    return {"kind": "List", "metadata": metadata, "items": items[begin:end]} if items else {}


async def watched(request: web.Request, fake: FakeApi, query: dict[str, str]) -> web.StreamResponse:
    """A watch, one event on each line."""
    stream = web.StreamResponse(headers={"Content-Type": "application/json"})
    await stream.prepare(request)
    *_, group, version, plural = request.path.split("/")
    kind = Resource("" if group == "api" else group, version, "", plural)
    seconds = int(query.get("timeoutSeconds", "290"))
    async with aclosing(fake.watch(kind, query["resourceVersion"], seconds=seconds)) as events:
        async for event in events:
            line = {"type": event.type, "object": event.live.manifest}
            await stream.write(json.dumps(line).encode() + b"\n")
            request.app[_COUNTS][EVENTS] += event.live.ref.group == CONSTRAINT_GROUP
    return stream


def main() -> None:
    """Serves until it is ended."""
    snapshot, port = Path(sys.argv[1]), int(sys.argv[2])
    fake = filled(snapshot)
    app = web.Application(client_max_size=1 << 26)
    app[_FAKE] = fake
    app[_COUNTS] = Counter()
    app.router.add_route("*", "/{path:.*}", answer)
    web.run_app(app, host="127.0.0.1", port=port, print=lambda *_: None)


if __name__ == "__main__":
    main()
