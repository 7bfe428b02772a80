"""A plan as people and as programs see it: golden texts, the documented JSON, and text that nobody obeys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jsonschema
import pytest

from controller.cluster.apply import Action, Result, planned
from controller.cluster.changes import (
    Blocked,
    Conflict,
    Create,
    Delete,
    DeleteReason,
    InUse,
    Invalid,
    Keep,
    NeedsDryRun,
    Plan,
    Refuse,
    Rejected,
    Replace,
    Retain,
)
from controller.cluster.diff import ABSENT, Difference, differences
from controller.cluster.plan import target_for
from controller.commands.plan_view import SCHEMA, Progress, as_json, as_text
from controller.forecast.report import totals
from controller.forecast.verdicts import Forecast, Forecasts, Verdict
from controller.forecast.workloads import Workload
from controller.text import plain
from tests.unit.cluster_builders import (
    CLUSTER_ID,
    constraint,
    desired_state,
    live,
    member,
    mutator,
    not_applied,
    template,
    unresolved,
)

if TYPE_CHECKING:
    from controller.cluster.changes import Change
    from controller.gatekeeper.model import DesiredObject

DOCS: Final = Path(__file__).parents[3] / "docs"
ESCAPE: Final = "\x1b]0;owned\x07\x1b[2J\n+ create Everything/fine\r\u2028\u202e\x9b31m"
NAME: Final = constraint().ref.name


def replace(wanted: DesiredObject, *, note: str = "", dropped: tuple[str, ...] = (), **spec: Any) -> Replace:
    """A repair of an object whose spec differs so."""
    found = live(wanted, spec={**live(wanted).manifest["spec"], **spec})
    before, after = found.projection(), live(wanted).projection()
    target = target_for(wanted, found)
    return Replace(wanted, found, target, tuple(differences(before, after)), after, dropped, note)


EVERY: Final[tuple[Change, ...]] = (
    Create(mutator()),
    Create(constraint(), ("spec.parameters",)),
    replace(constraint(), enforcementAction="dryrun"),
    Keep(template(), live(template())),
    Keep(constraint(), live(constraint()), ("spec.match.x",)),
    Conflict(template(), "it is managed by flux"),
    Blocked(constraint(), "its ConstraintTemplate is not ours"),
    Rejected(template(), live(template()), "Gatekeeper does not take it"),
    Invalid(constraint(), "refused"),
    *(Delete(live(constraint()), reason, "it goes") for reason in DeleteReason),
    Refuse(live(constraint()), "too many"),
    Retain(live(constraint()), "not known"),
    InUse(live(template()), (constraint().ref,)),
)
STATE: Final = desired_state(constraint(), outcomes=[not_applied(member("b")), unresolved(member("c", whole=True))])


def text(*changes: Change, **keywords: Any) -> list[str]:
    return list(as_text(Plan(CLUSTER_ID, changes), STATE, **keywords))


def document(*changes: Change) -> Any:
    return json.loads(as_json(Plan(CLUSTER_ID, changes), STATE))


# --- text ------------------------------------------------------------------------------------------------------------


def test_a_new_object_is_shown_in_full() -> None:
    assert (
        "\n".join(text(Create(mutator())))
        == f"""\
+ create Assign/{mutator().ref.name}
  + apiVersion: mutations.gatekeeper.sh/v1
  + kind: Assign
  + metadata:
  +   name: {mutator().ref.name}
  +   labels:
  +     managed-by: azure-policy-sync
  +   annotations:
  +     azure-policy-assignment-id: /assignments/m
  +     azure-policy-definition-id: /definitions/d
  +     azure-policy-definition-reference-id: ''
  +     azure-policy-setdefinition-id: ''
  +     constraint-installed-by: azure-policy-sync
  + spec:
  +   location: spec.hostNetwork
  +   parameters:
  +     assign:
  +       value: false
plan: 1 create; members: 1 enforced, 1 not applied, 1 unresolved"""
    )


def test_a_repair_is_shown_as_a_diff_of_what_differs() -> None:
    assert (
        "\n".join(text(replace(constraint(), enforcementAction="dryrun")))
        == f"""\
~ replace K8sThing/{NAME}
  @@ -8,5 +8,5 @@
      managed-by: azure-policy-sync
    spec:
  -   enforcementAction: dryrun
  +   enforcementAction: deny
      match:
        kinds:
plan: 1 replace; members: 1 enforced, 1 not applied, 1 unresolved"""
    )


def test_an_order_of_keys_is_not_shown_as_a_difference() -> None:
    change = replace(constraint(), enforcementAction="dryrun")
    turned = dict(reversed(live(constraint()).projection().items()))

    other = Replace(change.desired, change.live, change.target, change.differences, turned)

    assert text(other) == text(change)


def test_what_is_deleted_or_left_alone_is_one_line_and_a_reason() -> None:
    lines = text(
        Delete(live(constraint()), DeleteReason.MEMBER_GONE, "its assignment no longer has this policy"),
        Conflict(template(), "it is managed by flux"),
        InUse(live(template()), (constraint().ref,)),
    )

    assert lines == [
        f"- delete K8sThing/{NAME} (MemberGone)",
        "    its assignment no longer has this policy",
        "! conflict ConstraintTemplate/k8sthing (Conflict)",
        "    it is managed by flux",
        "= in-use ConstraintTemplate/k8sthing (InUse)",
        f"    kept: constraints that are not ours use it: K8sThing/{NAME}",
        "plan: 1 delete, 1 in-use, 1 conflict; members: 1 enforced, 1 not applied, 1 unresolved",
    ]


def test_what_stays_as_it_is_shows_only_when_asked_for_or_when_fields_are_dropped() -> None:
    kept = Keep(template(), live(template()))

    assert len(text(kept)) == 1
    assert text(kept, verbose=True)[0] == "  keep ConstraintTemplate/k8sthing"
    assert text(Keep(constraint(), live(constraint()), ("spec.x",)))[1] == (
        "    the kind's schema does not have spec.x: not enforced"
    )


def test_fields_that_would_be_dropped_and_missing_defaults_are_told() -> None:
    change = replace(constraint(), note="compared as written", dropped=("spec.x",), enforcementAction="dryrun")

    assert text(change)[1:3] == [
        "    compared as written",
        "    the kind's schema does not have spec.x: not enforced",
    ]


def test_an_empty_plan_says_so() -> None:
    assert text() == ["plan: nothing managed; members: 1 enforced, 1 not applied, 1 unresolved"]


def test_colours_are_only_added_when_asked_for() -> None:
    assert "\x1b" not in "".join(text(*EVERY))
    assert text(Create(mutator()), colour=True)[0] == f"\x1b[1;32m+ create Assign/{mutator().ref.name}\x1b[0m"


def test_an_unsure_change_is_never_shown() -> None:
    with pytest.raises(AssertionError, match="answered before"):
        planned(NeedsDryRun(constraint(), live(constraint()), {}))


# --- JSON ------------------------------------------------------------------------------------------------------------


def schema() -> Any:
    return json.loads((DOCS / "plan.schema.json").read_text(encoding="utf-8"))


def test_every_kind_of_change_is_as_documented() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())

    jsonschema.validate(document(*EVERY), schema())


def test_the_sums_of_a_forecast_are_there_where_one_was_asked_for() -> None:
    failing = Forecast(Workload("Deployment", "shop", "web", 3), Verdict.RESTART)
    sums = totals(Forecasts((failing,), 4))

    found = json.loads(as_json(Plan(CLUSTER_ID, EVERY), STATE, forecast=sums))

    jsonschema.validate(found, schema())
    assert found["forecast"]["counts"]["restart"] == 1
    assert found["forecast"]["failingBy"]["namespace"] == {"shop": 1}
    assert "forecast" not in document(*EVERY)


@pytest.mark.parametrize(
    "broken",
    [
        {"forecast": {"counts": {}}},
        {"schema": "azpolicy.dev/plan/v2"},
        {"counts": {"explode": 1}},
        {"changes": [{"action": "create"}]},
        {"more": 1},
        {"members": [{"outcome": "Lost"}]},
    ],
)
def test_the_schema_takes_nothing_else(broken: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document(*EVERY) | broken, schema())


def test_the_page_on_the_plan_names_every_action_every_reason_and_every_key() -> None:
    page = (DOCS / "plan.md").read_text(encoding="utf-8")
    made = document(*EVERY)
    keys = {*made, *made["changes"][0], *made["members"][0], "path", "before", "after"}
    words = {*schema()["$defs"]["action"]["enum"], *(change["reason"] for change in made["changes"]), SCHEMA, *keys}

    assert [word for word in sorted(words - {""}) if f"`{word}`" not in page] == []


def test_the_actions_of_the_schema_are_those_that_there_are() -> None:
    assert {change["action"] for change in document(*EVERY)["changes"]} == set(schema()["$defs"]["action"]["enum"])


def test_a_repair_as_json() -> None:
    (change,) = document(replace(constraint(), enforcementAction="dryrun"))["changes"]

    assert change == {
        "action": "replace",
        "object": {"group": "constraints.gatekeeper.sh", "kind": "K8sThing", "name": NAME},
        "reason": "",
        "message": "",
        "differences": [{"path": "spec.enforcementAction", "before": "dryrun", "after": "deny"}],
        "droppedFields": [],
    }


@pytest.mark.parametrize(
    ("before", "after", "keys"),
    [(ABSENT, None, {"path", "after"}), (None, ABSENT, {"path", "before"}), (1, 2, {"path", "before", "after"})],
)
def test_what_is_absent_is_left_out_and_null_is_not(before: Any, after: Any, keys: set[str]) -> None:
    base = replace(constraint(), enforcementAction="dryrun")
    change = Replace(base.desired, base.live, base.target, (Difference("spec.x", before, after),), base.after)

    (found,) = document(change)["changes"][0]["differences"]

    assert found.keys() == keys


def test_members_and_counts_are_in_the_document() -> None:
    made = document(*EVERY)

    assert made["counts"]["delete"] == len(DeleteReason)
    assert [(m["outcome"], m["reason"]) for m in made["members"]] == [
        ("Rendered", ""),
        ("NotApplied", "Disabled"),
        ("Unresolved", "Expression"),
    ]


# --- hostile text ----------------------------------------------------------------------------------------------------

HOSTILE: Final[tuple[Change, ...]] = (
    Create(constraint(text=ESCAPE), (f"spec.{ESCAPE}",)),
    replace(constraint(text="good"), note=ESCAPE, parameters={ESCAPE: ESCAPE, "list": [ESCAPE]}),
    Delete(live(constraint(), name=f"x{ESCAPE}"), DeleteReason.NOT_APPLIED, ESCAPE),
    Conflict(template(), ESCAPE),
    Invalid(constraint(), ESCAPE),
    Refuse(live(constraint()), ESCAPE),
    InUse(live(template(), name=f"y{ESCAPE}"), (live(constraint(), name=ESCAPE).ref,)),
)


def test_names_and_messages_cannot_make_lines_or_commands_of_a_terminal() -> None:
    lines = text(*HOSTILE, verbose=True)

    assert all(line.isprintable() for line in lines)
    assert not [line for line in lines if line.startswith("+ create Everything")]
    assert sum(not line.startswith("  ") for line in lines) == len(HOSTILE) + 1


def test_progress_cannot_be_made_to_say_more_than_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    ref = live(constraint(), name=f"x{ESCAPE}").ref
    path = Difference(f"spec{ESCAPE}", 1, 2)

    Progress(1).done(Result(ref, Action.REPLACED, "", ESCAPE, (path,)))

    printed = capsys.readouterr().out
    assert printed.startswith("[1/1] replaced K8sThing/x")
    assert printed.removesuffix("\n").isprintable()


def test_json_is_ascii_and_survives_any_text() -> None:
    state = desired_state(outcomes=[unresolved(message=f"{ESCAPE} \ud800")])

    made = as_json(Plan(CLUSTER_ID, HOSTILE), state)

    assert made.isascii()
    assert all(line.isprintable() for line in made.splitlines())
    assert json.loads(made)["members"][0]["message"] == f"{ESCAPE} \ud800"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("Grüße 漢字 🙂", "Grüße 漢字 🙂"),
        ("a\nb", "a\\nb"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202e", "\\u202e"),
        ("\ud800", "\\ud800"),
    ],
)
def test_plain_text_stays_and_the_rest_is_spelled_out(given: str, shown: str) -> None:
    assert plain(given) == shown


def test_what_stays_as_it_is_makes_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(2)

    for action in (Action.UNCHANGED, Action.CREATED, Action.BLOCKED, Action.FAILED):
        progress.done(Result(mutator().ref, action))

    name = f"Assign/{mutator().ref.name}"
    assert capsys.readouterr().out.splitlines() == [f"[1/2] created {name}", f"blocked {name}", f"[2/2] failed {name}"]
