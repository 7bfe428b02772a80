"""An object that did not move is the very one that was read before; one that moved is read and judged anew."""

from __future__ import annotations

import asyncio
import copy
from typing import Any, Final

from controller.cluster.changes import Keep, NeedsDryRun
from controller.cluster.dry_run import DryRunCache
from controller.cluster.kinds import ASSIGNED_POLICY, LiveObject, constraint_kind
from controller.cluster.object_cache import ObjectCache
from controller.cluster.plan import decide
from tests.unit.cluster_builders import KIND, MARKS, constraint, live, template
from tests.unit.fake_api import FakeApi

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


def test_a_status_that_is_written_anew_shares_all_the_rest_with_the_object_before() -> None:
    api = filled()
    [first] = listed(api)
    api.touch(WANTED.ref)
    [moved] = listed(api)
    assert moved.manifest["spec"] is first.manifest["spec"]
    assert moved.annotations is first.annotations
    assert moved.reads_as(first)


def test_what_was_deleted_or_is_listed_no_more_is_forgotten() -> None:
    cache, found = ObjectCache(None), live(WANTED)
    cache.read(RESOURCE, found)
    assert cache.read_before(RESOURCE, found.manifest) is found
    cache.gone(RESOURCE, found)
    assert cache.read_before(RESOURCE, found.manifest) is None

    cache.read(RESOURCE, found)
    cache.listed(RESOURCE, ())
    assert cache.read_before(RESOURCE, found.manifest) is None


def test_reports_and_what_has_no_version_are_not_kept() -> None:
    cache, found = ObjectCache(None), live(WANTED)
    cache.read(ASSIGNED_POLICY, found)
    assert cache.read_before(ASSIGNED_POLICY, found.manifest) is None

    nameless = live(WANTED, resourceVersion="")
    cache.read(RESOURCE, nameless)
    assert cache.read_before(RESOURCE, nameless.manifest) is None
