"""Azure's own verdicts: ours are the same, or a deviation says why not."""

from typing import Any

import pytest
import yaml

from tests.templates.suites import BUNDLE
from tests.verdicts import cases, deviations, rules, table
from tests.verdicts.cases import Case

WRITTEN = yaml.safe_load((BUNDLE / "deviations.yaml").read_text(encoding="utf-8"))
CHANGES = [(each["id"], change) for each in WRITTEN["deviations"] for change in each["changes"]]


def test_every_disagreement_with_azure_is_a_deviation() -> None:
    verdicts = list(cases.verdicts())
    if not verdicts:
        pytest.skip("Azure's verdicts are not here")

    rows = table.compare(verdicts)

    assert len(rows) == 43
    faults = {name: (len(row.holes), len(row.wrong_denies)) for name, row in rows.items()}
    unexplained = {name: (holes, denies) for name, (holes, denies) in faults.items() if holes or denies}
    assert unexplained == {}, "see `python -m tests.verdicts --show TEMPLATE`"


def test_the_same_rules_in_python_disagree_with_azure_only_where_a_deviation_says_so() -> None:
    verdicts = [verdict for verdict in cases.verdicts() if not table.misses_a_status(verdict)]
    if not verdicts:
        pytest.skip("Azure's verdicts are not here")

    wrong = [
        verdict.case
        for verdict in verdicts
        if (ours := rules.denied(verdict.case)) != verdict.denied
        and not list(deviations.explaining(verdict.case, ours=ours))
    ]

    assert wrong == []


def test_the_deviations_are_those_that_are_written_down() -> None:
    published = {verdict.case.template for verdict in cases.verdicts()}
    if not published:
        pytest.skip("Azure's verdicts are not here")
    changes = {(name, change["template"], change["newly"]) for name, change in CHANGES}
    newer = {(each["id"], each["template"], "admitted") for each in WRITTEN["newer"]}

    judged = {(each.id, template, each.newly) for each in deviations.DEVIATIONS for template in each.templates}

    assert judged == {change for change in changes | newer if change[1] in published}


@pytest.mark.parametrize(("name", "change"), CHANGES, ids=[f"{name}-{change['what']}" for name, change in CHANGES])
def test_the_predicate_of_a_deviation_holds_for_its_example(name: str, change: dict[str, Any]) -> None:
    case = Case(change["template"], change.get("parameters", {}), change["object"])
    if case.template not in {template for each in deviations.DEVIATIONS for template in each.templates}:
        pytest.skip("Azure's template is not published, so nothing can disagree with it")

    assert name in deviations.explaining(case, ours=change["newly"] == "denied")
