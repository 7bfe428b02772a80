"""What a reading of Azure is told of the cluster: the assignments of objects that could be pruned, and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from controller.cluster.apply import Applier
from controller.cluster.dry_run import DryRunCache
from controller.cluster.planner import Planner
from tests.unit.cluster_builders import MARKS, constraint, desired_state, foreign, live, member, mutator, template
from tests.unit.fake_api import FakeApi

if TYPE_CHECKING:
    from controller.cluster.kinds import LiveObject

OURS = constraint(by=member("one"))
POISONED: dict[str, Any] = {"annotations": {"azure-policy-assignment-id": "/poisoned"}}


async def named(*objects: LiveObject) -> frozenset[str]:
    api, cache = FakeApi(), DryRunCache()
    for each in (live(template()), live(OURS), live(mutator()), *objects):
        api.put(each)
    return (await Planner(api, Applier(api, MARKS, cache), cache, MARKS).in_use()).assignments


async def test_constraints_and_mutators_of_ours_name_theirs() -> None:
    assert await named() == {"/assignments/one", "/assignments/m"}


@pytest.mark.parametrize(
    "stranger",
    [
        pytest.param(live(OURS, name="merely-labelled", **POISONED), id="a name that azpolicy does not make"),
        pytest.param(live(constraint(by=member("x")), deleting=True, **POISONED), id="on its way out"),
        pytest.param(foreign(constraint(by=member("x"))), id="somebody else's"),
        pytest.param(live(template("K8sOther"), **POISONED), id="a template"),
    ],
)
async def test_an_object_that_is_never_pruned_names_none(stranger: LiveObject) -> None:
    assert await named(stranger) == {"/assignments/one", "/assignments/m"}


async def test_what_we_wrote_is_asked_about_whatever_its_annotations_say_now() -> None:
    api, cache = FakeApi(), DryRunCache()
    api.put(live(template()))
    api.put(live(OURS, labels={}, annotations={}, managers=()))
    cache.written.good(desired_state(template(), OURS))

    found = await Planner(api, Applier(api, MARKS, cache), cache, MARKS).in_use()

    assert "/assignments/one" in found.assignments
    assert "/definitions/d" in found.definitions


async def test_the_template_that_runs_is_the_one_that_we_wrote_and_not_what_its_annotations_say() -> None:
    api, cache = FakeApi(), DryRunCache()
    edited = {**live(template()).annotations, "constraint-template": "https://elsewhere"}
    api.put(live(template(), annotations=edited))
    planner = Planner(api, Applier(api, MARKS, cache), cache, MARKS)
    assert (await planner.running_templates())["k8sthing"].url == "https://elsewhere"

    cache.written.accepted(template())

    assert (await planner.running_templates())["k8sthing"].url == ""


async def test_an_annotation_that_is_no_text_names_none() -> None:
    listed = live(constraint(by=member("x")))
    metadata: Any = listed.manifest["metadata"]
    metadata["annotations"] = {"azure-policy-assignment-id": ["/poisoned"]}

    assert await named(listed) == {"/assignments/one", "/assignments/m"}
