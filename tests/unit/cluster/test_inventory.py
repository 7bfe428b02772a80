"""The inventory: complete, or not made at all."""

from __future__ import annotations

import pytest

from controller.cluster.client import Response
from controller.cluster.inventory import GatekeeperMissing, take_inventory
from controller.cluster.kinds import TEMPLATE
from controller.errors import ClusterError
from tests.unit.cluster_builders import KIND, constraint, live, member, mutator, template
from tests.unit.fake_api import FakeApi, status
from tests.unit.virtual_time import in_virtual_time

ONE = constraint(by=member("one"))


@in_virtual_time
async def test_it_holds_every_object_of_every_kind_ours_or_not() -> None:
    api = FakeApi()
    there = [api.put(live(each)) for each in (template(), ONE, mutator(), template("K8sOther"))]

    found = await take_inventory(api, ())

    assert set(found.objects) == {each.ref for each in there}
    assert found.served == {KIND, "K8sOther"}


@in_virtual_time
async def test_a_wanted_kind_that_is_not_served_yet_is_no_error() -> None:
    found = await take_inventory(FakeApi(), (template(), ONE))

    assert (found.objects, found.served) == ({}, frozenset())


@in_virtual_time
async def test_a_kind_that_is_there_and_not_served_is_told_apart_from_one_that_is_not_there() -> None:
    api = FakeApi()
    for wanted in (template(), template("K8sHidden"), template("K8sUnknown"), template("K8sGone"), ONE):
        api.put(live(wanted))
    api.hidden = {"k8shidden", "k8sunknown"}
    api.at("GET", "/k8sunknown.constraints.gatekeeper.sh", status(403, "not for you", "Forbidden"))
    api._crd_kinds.pop("k8sgone")

    found = await take_inventory(api, ())

    assert found.hidden == api.hidden
    assert found.served == {KIND}


@in_virtual_time
async def test_one_kind_that_cannot_be_listed_makes_none() -> None:
    api = FakeApi()
    api.put(live(template()))
    api.at("GET", f"/{KIND.lower()}", status(403, "not for you", "Forbidden"), times=10)

    with pytest.raises(ClusterError, match="listing k8sthing: not for you"):
        await take_inventory(api, ())


@in_virtual_time
async def test_without_the_template_kind_gatekeeper_is_missing() -> None:
    api = FakeApi()
    api.at("GET", TEMPLATE.path(), status(404, "not found", "NotFound"))

    with pytest.raises(GatekeeperMissing, match="Gatekeeper is not installed"):
        await take_inventory(api, ())


@in_virtual_time
async def test_a_list_that_expires_between_pages_is_begun_anew() -> None:
    api = FakeApi()
    api.put(live(template()))
    half = Response(200, {"kind": "List", "metadata": {"continue": "x"}, "items": []})
    api.at("GET", TEMPLATE.path(), half)
    api.at("GET", TEMPLATE.path(), status(410, "expired", "Expired"))

    found = await take_inventory(api, ())

    assert template().ref in found.objects


@in_virtual_time
async def test_a_template_wanted_at_another_version_is_read_at_that_version() -> None:
    api = FakeApi()
    api.put(live(template()))
    older = TEMPLATE.at("templates.gatekeeper.sh/v1beta1")

    await take_inventory(api, (template(version="v1beta1"),))

    assert older.path() in {call.path for call in api.calls}
