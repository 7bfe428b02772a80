"""What `azpolicy status` shows: every fact at a glance, the same on a terminal and in a pipe, and nothing obeyed."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from rich.console import Console

from controller.cluster.resources import Resources
from controller.commands import terminal
from controller.commands.status import PolicySync, Status
from controller.commands.status_view import FORMATS, SCHEMA, as_text, result_line, sheet
from controller.errors import InputError
from tests.resources import assigned_policy, condition, lease, policy_sync
from tests.snapshots import CLUSTER_ID, GROUP, POLICY

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
JUST_NOW = "2026-03-01T11:59:58Z"
ASSIGNMENTS = f"{GROUP}{POLICY}/policyAssignments"
ESCAPE = "\x1b]0;owned\x07\x1b[2J\nReady  True\r\u2028\u202e\x9b31m[bold]x[/bold]:smile:"
EXPECTED = """\
Ready      False (Problems): K8sThing/x Denied: no
Suspended  True (Suspended): until the evening
Cluster    {cluster}
Source     a snapshot
Mode       Suspended until 2026-03-01T18:00:00Z: node upgrade
Operator   azpolicy-0 in gatekeeper-system
Counts     2 assignments, 3 enforced, 1 not applied, 0 unresolved, 5 objects, 0 conflicts, 1 problems
Policies   1 Enforced, 1 NotApplied, 1 Unresolved, 1 Failed; 4 violations
Refused    4 deletions that Azure does not prove; if they are intended: azpolicy sync --force-prune 9f3ac2

The base one [Baseline] {assignments}/base
  POLICY          EFFECT  ACTION  OUTCOME     REASON                  VIOLATIONS
  Allowed images  deny    deny    Failed      ConstraintCreateFailed
      no
  Labels          deny    deny    NotApplied  Disabled
  No privilege    deny    deny    Enforced                            4

The team one {assignments}/team
  POLICY       EFFECT  ACTION  OUTCOME     REASON      VIOLATIONS
  (all of it)  deny    deny    Unresolved  Expression
      not known

Last changes
  TIME                  ACTION    OBJECT      CAUSE  EDITOR        DETAIL
  2026-03-01T11:00:00Z  replaced  K8sThing/x  drift  kubectl-edit  spec changed"""


def status(
    *policies: Mapping[str, Any],
    sync: Mapping[str, Any] | None = None,
    leases: tuple[Mapping[str, Any], ...] | None = (),
) -> Status:
    return Status.of(Resources(sync, tuple(policies), leases))


def facts(shown: Status) -> dict[str, str]:
    return {fact.name: fact.text for fact in sheet(shown, NOW).facts}


def text(shown: Status) -> str:
    return "\n".join(as_text(sheet(shown, NOW)))


def on_terminal(shown: Status, width: int = 200) -> str:
    """What a terminal shows, without colours."""
    screen = io.StringIO()
    terminal.show(sheet(shown, NOW), Console(file=screen, width=width, no_color=True, highlight=False))
    return screen.getvalue()


def everything() -> Status:
    """A cluster with something of all that can be shown."""
    change = {"time": "2026-03-01T11:00:00Z", "action": "replaced", "object": "K8sThing/x", "cause": "drift"}
    sync = policy_sync(
        condition("Ready", "False", "Problems", "K8sThing/x Denied: no"),
        condition("GatekeeperReady", message=""),
        condition("Suspended", "True", "Suspended", "until the evening"),
        condition("Contended", "False", message="never shown"),
        suspend={"until": "2026-03-01T18:00:00Z", "reason": "node upgrade"},
        mode="Suspended",
        refusedDeletions={"count": 4, "digest": "9f3ac2"},
        lastChanges=[{**change, "detail": "spec changed", "editor": "kubectl-edit"}],
    )
    sync["status"]["counts"]["problems"] = 1
    return status(
        assigned_policy("", assignment="team", outcome="Unresolved", reason="Expression", message="not known"),
        assigned_policy(violations=4, initiative="Baseline"),
        assigned_policy("Labels", initiative="Baseline", outcome="NotApplied", reason="Disabled", message="so it is"),
        assigned_policy(
            "Allowed images", initiative="Baseline", outcome="Failed", reason="ConstraintCreateFailed", message="no"
        ),
        sync=sync,
        leases=(lease(renewed=JUST_NOW),),
    )


def test_a_pipe_gets_aligned_text_without_colours_and_boxes() -> None:
    assert text(everything()) == EXPECTED.format(cluster=CLUSTER_ID, assignments=ASSIGNMENTS)


def test_a_declared_cluster_is_told_from_one_in_azure() -> None:
    declared = "/subscriptions/s/providers/azpolicy.dev/connectedClusters/kind"
    shown = {fact.name: fact.text for fact in sheet(status(sync=policy_sync(clusterId=declared)), NOW).facts}

    assert shown["Cluster"] == f"{declared} (declared, no resource in Azure)"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_terminal_shows_every_word_that_a_pipe_gets_however_narrow_it_is(width: int) -> None:
    shown = sheet(everything(), NOW)
    words = [word for fact in shown.facts for word in (fact.name, fact.text)]
    for table in shown.tables:
        words += [table.title, *table.columns]
        words += [word for row in table.rows for word in row.cells]
        words += [word for row in table.rows if row.note for word in (row.cells[0], row.note)]

    seen = on_terminal(everything(), width)

    # Folded texts go on below, in a narrow table a few letters at a time, so only the letters can be counted.
    assert Counter(filter(str.isalnum, seen)) == Counter(filter(str.isalnum, "".join(words)))


def test_a_terminal_shows_tables_with_colours_by_outcome() -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=120, force_terminal=True, color_system="standard", highlight=False)

    terminal.show(sheet(everything(), NOW), console)

    seen = screen.getvalue()
    assert "─" in seen
    assert "\x1b[31mFailed" in seen
    assert "\x1b[32mEnforced" in seen


def test_nothing_that_comes_from_elsewhere_is_obeyed() -> None:
    policy = assigned_policy(ESCAPE, assignment="hostile", name="x", initiative="y", outcome="Failed", reason=ESCAPE)
    policy["spec"]["assignment"]["displayName"] = policy["spec"]["initiative"]["displayName"] = ESCAPE
    policy["status"] |= {"message": ESCAPE, "effect": ESCAPE, "enforcementAction": ESCAPE}
    texts = {"time", "action", "object", "cause", "detail", "editor"}
    sync = policy_sync(
        condition("Ready", "False", ESCAPE, ESCAPE),
        condition("Contended", "True", ESCAPE, ESCAPE),
        suspend={"until": "2026-03-01T18:00:00Z", "reason": ESCAPE},
        clusterId=ESCAPE,
        source=ESCAPE,
        refusedDeletions={"count": 1, "digest": f"x; {ESCAPE}"},
        lastChanges=[dict.fromkeys(texts, ESCAPE)],
    )
    shown = status(policy, sync=sync, leases=(lease(ESCAPE, renewed=JUST_NOW),))

    for seen in (text(shown), on_terminal(shown, 20_000), result_line("sync", PolicySync.of(sync))):
        assert all(letter.isprintable() or letter == "\n" for letter in seen)
        assert "[bold]x[/bold]:smile:" in seen
        assert not any(line.startswith("Ready  True") for line in seen.splitlines())
    # The command that is offered for copying stays one command.
    assert "--force-prune 'x; " in text(shown)


@pytest.mark.parametrize(
    ("name", "holds", "is_shown"),
    [
        ("GatekeeperReady", "False", True),
        ("GatekeeperReady", "Unknown", True),
        ("GatekeeperReady", "True", False),
        ("Reconciling", "True", True),
        ("Reconciling", "False", False),
        ("Stalled", "True", True),
        ("Stalled", "False", False),
        ("Suspended", "True", True),
        ("Suspended", "False", False),
        ("Contended", "True", True),
        ("Contended", "False", False),
        ("OfALaterVersion", "True", False),
    ],
)
def test_a_condition_is_shown_when_it_is_not_as_it_should_be(name: str, holds: str, is_shown: bool) -> None:
    shown = facts(status(sync=policy_sync(condition("Ready"), condition(name, holds, "Why", "what to do"))))

    assert shown.get(name) == (f"{holds} (Why): what to do" if is_shown else None)
    assert shown["Ready"] == "True (Fine)"


def test_what_is_known_of_a_gatekeeper_that_is_well_is_shown() -> None:
    told = condition("GatekeeperReady", "True", "Ready", "failurePolicy Ignore")

    assert facts(status(sync=policy_sync(condition("Ready"), told)))["Gatekeeper"] == "failurePolicy Ignore"


def test_an_empty_cluster_says_that_no_operator_has_been_there() -> None:
    shown = facts(status())

    assert "no PolicySync default" in shown["Ready"]
    assert shown["Policies"] == "none to show"
    assert "no Lease" in shown["Operator"]


def test_a_policysync_without_a_status_says_that_nothing_is_reported() -> None:
    sync = {**policy_sync(), "status": {}}

    shown = facts(status(sync=sync))

    assert "nothing is reported yet" in shown["Ready"]
    assert {shown["Cluster"], shown["Source"], shown["Mode"]} == {"not known yet"}
    assert "Counts" not in shown


def test_settings_that_the_operator_has_not_taken_up_are_told() -> None:
    sync = policy_sync(generation=3, observedGeneration=2)

    assert "generation 3 are not in use yet; the status is of 2" in facts(status(sync=sync))["Settings"]
    assert "Settings" not in facts(status(sync=policy_sync(generation=3)))


@pytest.mark.parametrize(
    ("mode", "until", "expected"),
    [
        ("Enforce", None, "Enforce"),
        ("DryRun", None, "DryRun"),
        ("Suspended", "2026-03-01T18:00:00Z", "Suspended until 2026-03-01T18:00:00Z"),
        ("Enforce", "2026-03-01T18:00:00Z", "Enforce, to be Suspended until 2026-03-01T18:00:00Z"),
        ("Enforce", "2026-03-01T06:00:00Z", "Enforce"),
    ],
)
def test_the_mode_tells_until_when_it_is_suspended(mode: str, until: str | None, expected: str) -> None:
    sync = policy_sync(suspend={"until": until} if until else None, mode=mode)

    assert facts(status(sync=sync))["Mode"] == expected


@pytest.mark.parametrize(
    ("leases", "expected"),
    [
        (None, "not known: this account may not read its Lease"),
        ((lease(renewed=JUST_NOW),), "azpolicy-0 in gatekeeper-system"),
        ((lease("", renewed=JUST_NOW),), "nobody holds the Lease in gatekeeper-system: none leads"),
        (
            (lease(renewed="2026-03-01T09:00:00Z"),),
            "azpolicy-0 in gatekeeper-system last renewed its Lease 3h ago: it does not lead",
        ),
    ],
)
def test_the_operator_is_who_renews_the_lease(leases: tuple[Mapping[str, Any], ...] | None, expected: str) -> None:
    assert facts(status(leases=leases))["Operator"] == expected


def test_assignments_of_one_display_name_stay_apart() -> None:
    policies = [assigned_policy(assignment=name, name=name) for name in ("a", "b")]
    for each in policies:
        each["spec"]["assignment"]["displayName"] = "Baseline"

    tables = sheet(status(*policies), NOW).tables

    assert [table.title for table in tables] == [f"Baseline {ASSIGNMENTS}/a", f"Baseline {ASSIGNMENTS}/b"]


@pytest.mark.parametrize("asked", ["base", f"{ASSIGNMENTS}/base", "THE BASE ONE"])
def test_an_assignment_is_found_by_its_id_name_or_display_name(asked: str) -> None:
    [policy] = everything().only([asked, "base"], problems=True).policies

    assert (policy.assignment, policy.outcome) == ("The base one", "Failed")


def test_an_assignment_that_is_not_there_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(InputError, match="no assignment 'nowhere' is reported here: there is The base one, The team"):
        everything().only(["nowhere"], problems=False)


def test_problems_are_what_is_neither_enforced_nor_known_not_to_apply() -> None:
    outcomes = ("Enforced", "NotApplied", "Pending", "Planned", "Failed", "Unresolved")
    shown = status(*(assigned_policy(each, outcome=each) for each in outcomes))

    kept = shown.only([], problems=True).policies

    assert {each.outcome for each in kept} == {"Pending", "Planned", "Failed", "Unresolved"}


def test_json_and_yaml_are_the_resources_own_documents() -> None:
    shown = everything()

    as_json = json.loads(FORMATS["json"](shown))

    assert as_json == {
        "schema": SCHEMA,
        "policySync": shown.sync and shown.sync.document,
        "assignedPolicies": [each.document for each in shown.policies],
        "leases": [lease(renewed=JUST_NOW)],
    }
    assert yaml.safe_load(FORMATS["yaml"](shown)) == as_json
    empty = json.loads(FORMATS["json"](status(leases=None)))
    assert empty == {"schema": SCHEMA, "policySync": None, "assignedPolicies": [], "leases": None}


def test_five_hundred_policies_are_a_line_each() -> None:
    policies = [assigned_policy(f"Policy {number:03}", assignment=f"a{number % 20:02}") for number in range(500)]

    lines = text(status(*policies)).splitlines()

    assert "500 Enforced; 0 violations" in lines[2]
    assert sum("Enforced" in line for line in lines[3:]) == 500
    assert sum(line.startswith("The a") for line in lines) == 20


def test_the_library_that_draws_tables_is_left_out_of_the_operator_and_of_other_commands() -> None:
    modules = (
        "controller.operator.main, controller.cli.main, controller.commands.status_view, controller.commands.uninstall"
    )

    code = f"import sys, {modules}; sys.exit('rich' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
