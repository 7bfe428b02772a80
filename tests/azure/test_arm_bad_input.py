"""Documents of every wrong shape as Azure itself would serve them: each spoils what needs it, no poll fails for it."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from aiohttp import web

from controller.azure.arm import ArmReader
from controller.errors import SourceError
from controller.policy.resolve import resolve
from tests.azure.faults import error
from tests.azure.standin import Standin
from tests.unit.azure_builders import (
    CLUSTER_ID,
    NOW,
    SUBSCRIPTION,
    assignment_id,
    definition_id,
    make_assignment,
    make_cluster,
    make_definition,
    outcome,
    places,
)
from tests.unit.bad_documents import EVERYBODY, FIELDS, RESOURCES, WRONG, at, spell
from tests.unit.bad_input import INPUT_ERROR

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from controller.policy.model import Resolution
    from tests.azure.documents import Document
    from tests.azure.faults import Fault

HEALTHY: Final = [
    make_cluster(),
    make_definition("healthy"),
    make_assignment("healthy", of=definition_id("healthy"), effect="Deny"),
]
MALFORMED: Final = "malformed"
LISTED_APART: Final = f"{SUBSCRIPTION}{MALFORMED}"


class Forging(Standin):
    """Serves some documents with other properties than it knows them by, and finds some ids malformed."""

    def __init__(self, documents: Iterable[Document], forged: Mapping[str, Any] | None = None) -> None:
        super().__init__(copy.deepcopy([*documents]))
        self._forged = {key.casefold(): properties for key, properties in (forged or {}).items()}

    def _found(self, request: web.BaseRequest, fault: Fault | None) -> web.Response:
        if MALFORMED in request.path:
            return error(400, "InvalidResourceId", "The id is malformed.")
        response = super()._found(request, fault)
        body = json.loads(response.text or "")
        for entry in body.get("value", [body]):
            head = str(entry.get("id")).casefold().partition("/versions/")[0]
            if head in self._forged:
                entry["properties"] = self._forged[head]
        return web.json_response(body, status=response.status)


async def resolutions(arm: Standin) -> dict[str, list[Resolution]]:
    """What is read of the stand-in means, by the assignment's name."""
    async with ArmReader(arm.settings(CLUSTER_ID), credential=arm.credential()) as reader:
        state = (await reader.read()).state
    found: dict[str, list[Resolution]] = {}
    for each in resolve(state, NOW):
        found.setdefault(each.member.assignment_id.rpartition("/")[2], []).append(each)
    return found


def spoilt() -> Iterator[tuple[str, str, Mapping[str, Document], str]]:
    """Each field of each kind of document with a value of a wrong type: its name, its documents, which, and its end."""
    for kind in RESOURCES:
        fields = FIELDS[kind]
        for path in places(fields.base):
            end = fields.otherwise.get(spell(path), fields.end)
            if path[:1] != ("properties",) or end in (INPUT_ERROR, EVERYBODY):
                continue
            # These are judged by the template's schema, and no template is read here.
            end = "deny" if ".then.details.values." in spell(path) else end
            wrong = next(value for type_, value in WRONG.items() if type_ is not type(at(fields.base, path)))
            yield f"{kind} {spell(path)}", kind, {**RESOURCES, kind: fields.with_at(path, wrong)}, end


async def test_a_document_of_a_wrong_shape_spoils_what_needs_it_and_nothing_else() -> None:
    """All of them in one reading, each under a name of its own."""
    known, forged, expected, names = [*HEALTHY], {}, {"healthy": "deny"}, {}
    for number, (name, kind, documents, end) in enumerate(spoilt()):
        good, bad = renamed(RESOURCES, number), renamed(documents, number)
        known += good.values()
        forged[good[kind]["id"]] = bad[kind]["properties"]
        expected[f"hostile-{number}"] = end
        names[f"hostile-{number}"] = name

    with Standin(copy.deepcopy(HEALTHY)) as arm:
        alone = await resolutions(arm)
    with Forging(known, forged) as arm:
        found = await resolutions(arm)

    words = {name: outcome(only) for name, [only] in found.items()}
    assert {names[key]: word for key, word in words.items() if expected[key] != word} == {}
    assert words.keys() == expected.keys()
    assert len(words) > 100
    assert found["healthy"] == alone["healthy"]


def renamed(documents: Mapping[str, Document], number: int) -> dict[str, Document]:
    return {
        kind: json.loads(json.dumps(each).replace("hostile", f"hostile-{number}")) for kind, each in documents.items()
    }


@pytest.mark.parametrize(
    "assigned", [definition_id(MALFORMED), f"{LISTED_APART}{definition_id('custom')}"], ids=["built-in", "custom"]
)
async def test_an_id_that_azure_finds_malformed_spoils_what_needs_it_and_nothing_else(assigned: str) -> None:
    with Forging([*HEALTHY, make_assignment("hostile", of=assigned)]) as arm:
        found = await resolutions(arm)

    assert {name: outcome(only) for name, [only] in found.items()} == {"healthy": "deny", "hostile": "Unreadable"}
    assert "Azure answered 400" in getattr(found["hostile"][0], "message", "")


@pytest.mark.parametrize("properties", [[], 7, "hostile", None, {"policyDefinitionId": {}}], ids=repr)
async def test_an_assignment_that_went_and_cannot_be_read_is_not_proven_gone(properties: Any) -> None:
    gone = make_assignment("hostile", scope="/subscriptions/other", of=definition_id("healthy"))
    known = str(gone["id"])

    with Forging([*HEALTHY, gone], {known: properties}) as arm:
        async with ArmReader(arm.settings(CLUSTER_ID), credential=arm.credential()) as reader:
            state = (await reader.read([known])).state

    assert state.gone == frozenset()
    assert [each.id for each in state.assignments] == [assignment_id("healthy")]


class Nesting(Standin):
    """Answers with lists in lists in lists."""

    def _found(self, request: web.BaseRequest, fault: Fault | None) -> web.Response:
        if "policyExemptions" in request.path:
            return web.Response(text=f'{{"value": {"[" * 100_000}{"]" * 100_000}}}', content_type="application/json")
        return super()._found(request, fault)


async def test_an_answer_nested_without_end_is_no_whole_answer() -> None:
    with Nesting(copy.deepcopy(HEALTHY)) as arm:
        async with ArmReader(arm.settings(CLUSTER_ID), credential=arm.credential()) as reader:
            with pytest.raises(SourceError, match="policyExemptions: no complete answer"):
                await reader.read()
