"""An object that did not move is the very one that was read before; one that moved is read and judged anew."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from typing import Any, Final

import pytest

from controller.cluster.changes import Keep, NeedsDryRun
from controller.cluster.dry_run import DryRunCache
from controller.cluster.kinds import ASSIGNED_POLICY, LiveObject, constraint_kind
from controller.cluster.lean import FIRST
from controller.cluster.object_cache import ObjectCache
from controller.cluster.plan import decide
from tests.unit.cluster_builders import KIND, MARKS, constraint, live, member, template
from tests.unit.fake_api import FakeApi


def violation(number: int) -> dict[str, Any]:
    """One finding of an audit."""
    named = {"kind": "Pod", "name": f"pod-{number:03}", "namespace": "team", "message": f"{number} is not allowed"}
    return {"enforcementAction": "deny", "group": "", "version": "v1", **named}


RESOURCE: Final = constraint_kind(KIND)
WANTED: Final = constraint()


def filled() -> FakeApi:
    api = FakeApi()
    api.put(live(template()))
    api.put(live(WANTED))
    return api


def listed(api: FakeApi) -> list[LiveObject]:
    found = asyncio.run(api.list_live(RESOURCE))
    assert found is not None
    return list(found[0])


def decided(api: FakeApi, cache: DryRunCache) -> object:
    [found] = listed(api)
    change = decide(WANTED, found, MARKS, cache.entries)
    if isinstance(change, Keep):
        cache.remember_equal(found, WANTED, change.dropped)
    return change


def test_a_list_gives_the_object_of_the_list_before_until_it_moves() -> None:
    api = filled()
    [first] = listed(api)
    assert listed(api) == [first]
    assert listed(api)[0] is first

    api.touch(WANTED.ref)
    [moved] = listed(api)
    assert moved is not first
    assert moved.version != first.version


def asked(api: FakeApi) -> list[bool]:
    """Whether each list of the kind was of metadata alone."""
    return [call.by_metadata for call in api.calls if call.path == RESOURCE.path()]


def test_where_everything_is_known_the_metadata_alone_is_asked_for() -> None:
    api = filled()
    first, again = listed(api), listed(api)
    assert again == first
    assert asked(api) == [False, True]

    api.edit(WANTED.ref, enforcementAction="dryrun")
    [edited] = listed(api)
    assert edited.manifest["spec"]["enforcementAction"] == "dryrun"
    assert listed(api) == [edited]
    assert asked(api) == [False, True, True, False, True]


def test_what_a_watch_has_told_need_not_be_read_again() -> None:
    api = filled()
    listed(api)
    api.touch(WANTED.ref)

    async def watch() -> LiveObject:
        async with contextlib.aclosing(api.watch(RESOURCE, "100")) as events:
            async for event in events:
                if event.live.version == str(api._latest):
                    return event.live
        raise AssertionError("the watch has ended")

    told = asyncio.run(watch())

    assert listed(api)[0] is told
    assert asked(api)[-1] is True


def test_one_that_came_or_went_is_seen_in_the_list() -> None:
    api, other = filled(), constraint(by=member("other"))
    listed(api)
    api.put(live(other))
    assert {found.ref for found in listed(api)} == {WANTED.ref, other.ref}

    api.remove(WANTED.ref)
    assert [found.ref for found in listed(api)] == [other.ref]
    assert asked(api)[-1] is True, "what is left is known"

    api.remove(other.ref)
    assert listed(api) == []


def test_an_object_is_judged_again_when_its_spec_was_edited_meanwhile() -> None:
    api, cache = filled(), DryRunCache()
    assert isinstance(decided(api, cache), Keep)
    assert isinstance(decided(api, cache), Keep)

    api.edit(WANTED.ref, enforcementAction="dryrun")
    assert isinstance(decided(api, cache), NeedsDryRun)


def test_labels_annotations_and_finalizers_are_compared_whatever_the_generation_is() -> None:
    api, cache = filled(), DryRunCache()
    decided(api, cache)
    path = RESOURCE.path(WANTED.ref.name)
    for place, value in ((("metadata", "labels"), {}), (("metadata", "finalizers"), ["example.com/stay"])):
        before = copy.deepcopy(api._objects[path])
        changed: Any = copy.deepcopy(before)
        changed[place[0]][place[1]] = value
        changed["metadata"]["resourceVersion"] = api._next_version()
        api._objects[path] = changed
        assert isinstance(decided(api, cache), NeedsDryRun), place
        api._objects[path] = {**before, "metadata": {**before["metadata"], "resourceVersion": api._next_version()}}
        assert isinstance(decided(api, cache), Keep)


def test_an_object_is_judged_again_when_something_else_is_desired() -> None:
    api, cache = filled(), DryRunCache()
    decided(api, cache)
    [found] = listed(api)
    assert isinstance(decide(constraint(limit=2), found, MARKS, cache.entries), NeedsDryRun)


def test_after_a_restored_backup_a_version_that_comes_again_is_read_again() -> None:
    api = filled()
    kept = api.backup()
    api.edit(WANTED.ref, enforcementAction="dryrun")
    [before] = listed(api)
    api.touch(template().ref)
    listed(api)

    api.restore(kept)
    api.edit(WANTED.ref, enforcementAction="warn")

    [after] = listed(api)
    assert after.version == before.version
    assert after.manifest["spec"]["enforcementAction"] == "warn"


def test_a_status_that_is_written_anew_shares_all_the_rest_with_the_object_before() -> None:
    api = filled()
    [first] = listed(api)
    api.touch(WANTED.ref)
    [moved] = listed(api)
    assert moved.manifest["spec"] is first.manifest["spec"]
    assert moved.annotations is first.annotations
    assert moved.reads_as(first)


def test_what_was_deleted_or_is_listed_no_more_is_forgotten() -> None:
    cache, document = ObjectCache(None), live(WANTED).manifest
    found = cache.read(RESOURCE, document)
    assert cache.read(RESOURCE, document) is found
    cache.gone(RESOURCE, found)
    again = cache.read(RESOURCE, document)
    assert again is not found

    cache.listed(RESOURCE, ())
    assert cache.read(RESOURCE, document) is not again


def test_reports_and_what_has_no_version_are_not_kept() -> None:
    cache, document = ObjectCache(None), live(WANTED).manifest
    assert cache.read(ASSIGNED_POLICY, document) is not cache.read(ASSIGNED_POLICY, document)

    nameless = live(WANTED, resourceVersion="").manifest
    assert cache.read(RESOURCE, nameless) is not cache.read(RESOURCE, nameless)


@pytest.mark.parametrize("kept", [None, FIRST])
def test_an_audit_that_finds_the_same_leaves_the_content(kept: int | None) -> None:
    cache, document = ObjectCache(kept), audited_document()
    first = cache.read(RESOURCE, document)
    again = audited_document()
    again["metadata"]["resourceVersion"] = "8"
    again["metadata"]["managedFields"][1]["time"] = "2026-03-01T13:00:00Z"
    again["status"]["auditTimestamp"] = "2026-03-01T13:00:00Z"
    again["status"]["violations"].reverse()
    if kept is None:
        again["status"]["violations"].reverse()

    moved = cache.read(RESOURCE, again)

    assert moved.content is first.content
    assert moved.manifest == ObjectCache(kept).read(RESOURCE, again).manifest
    assert (moved.version, moved.manifest["status"]["auditTimestamp"]) == ("8", "2026-03-01T13:00:00Z")
    assert moved.manifest["status"]["violations"] is first.manifest["status"]["violations"]
    assert moved.reads_as(first)


CHANGES: Final = {
    "a label": ("metadata", "labels", {"team": "a"}),
    "a finalizer": ("metadata", "finalizers", ["example.com/stay"]),
    "its deletion": ("metadata", "deletionTimestamp", "2026-03-01T13:00:00Z"),
    "a manager": ("metadata", "managedFields", [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]),
    "a field of no standard": ("data", "extra", 1),
    "the spec": ("spec", "enforcementAction", "warn"),
    "the generation": ("metadata", "generation", 2),
    "a pod's word": ("status", "byPod", []),
    "the total": ("status", "totalViolations", 99),
    "no audit": ("status", "auditTimestamp", None),
    "no time of an audit": ("status", "auditTimestamp", ""),
    "a violation less": ("status", "violations", [violation(place) for place in range(1, 20)]),
    "a violation of few": ("status", "violations", [violation(1)]),
    "a violation first": ("status", "violations", [violation(-1), *map(violation, range(20))]),
    "a long message": (
        "status",
        "violations",
        [{**violation(0), "message": "m" * 300 + "..."}, *map(violation, range(1, 20))],
    ),
    "no violations that can be read": ("status", "violations", [7, "text", None]),
}


@pytest.mark.parametrize("kept", [None, FIRST])
@pytest.mark.parametrize("change", CHANGES)
def test_whatever_else_has_changed_is_other_content_and_read_as_it_is(kept: int | None, change: str) -> None:
    part, key, value = CHANGES[change]
    cache, changed = ObjectCache(kept), audited_document()
    first = cache.read(RESOURCE, audited_document())
    changed["metadata"]["resourceVersion"] = "8"
    changed["status"]["auditTimestamp"] = "2026-03-01T13:00:00Z"
    changed.setdefault(part, {})[key] = value
    if value is None:
        del changed[part][key]

    moved = cache.read(RESOURCE, changed)

    assert moved.content is not first.content
    assert moved.manifest == ObjectCache(kept).read(RESOURCE, changed).manifest


def test_a_message_that_gatekeeper_cut_is_not_taken_for_a_whole_one_that_was_kept_before() -> None:
    cache, document = ObjectCache(FIRST), audited_document()
    cut = "é" * 130 + "..."  # longer than 256 bytes
    document["status"]["violations"][0]["message"] = f"{cut} "
    assert cache.read(RESOURCE, document).manifest["status"]["violations"][0].message == cut
    document = copy.deepcopy(document)
    document["metadata"]["resourceVersion"] = "8"
    document["status"]["violations"][0]["message"] = cut

    assert cache.read(RESOURCE, document).manifest == ObjectCache(FIRST).read(RESOURCE, document).manifest


def test_violations_that_are_no_more_than_are_kept_are_not_taken_for_reduced_ones() -> None:
    cache, document = ObjectCache(FIRST), audited_document()
    document["status"]["violations"] = [{"name": f"pod-{place}", "message": "a  b"} for place in range(FIRST)]
    cache.read(RESOURCE, document)
    document = copy.deepcopy(document)
    document["metadata"]["resourceVersion"] = "8"
    document["status"]["violations"].append({"name": "pod-9"})

    assert cache.read(RESOURCE, document).manifest == ObjectCache(FIRST).read(RESOURCE, document).manifest


def audited_document() -> dict[str, Any]:
    """A constraint as an audit left it."""
    document: dict[str, Any] = copy.deepcopy(dict(live(WANTED).manifest))
    document["metadata"] |= {
        "uid": "u",
        "resourceVersion": "7",
        "generation": 1,
        "managedFields": [
            {"manager": "azpolicy", "fieldsV1": {"f:spec": {}}},
            {"manager": "gatekeeper", "subresource": "status", "time": "2026-03-01T12:00:00Z"},
        ],
    }
    document["status"] = {
        "auditTimestamp": "2026-03-01T12:00:00Z",
        "byPod": [{"id": "a", "enforced": True, "constraintUID": "u", "observedGeneration": 1}],
        "totalViolations": 20,
        "violations": [violation(place) for place in range(20)],
    }
    return document
