"""Azure's own verdicts: ours are the same, or a deviation says why not."""

from collections import Counter
from typing import Any

import pytest
import yaml

from tests.templates.suites import BUNDLE
from tests.verdicts import cases, deviations, judge, rules, table
from tests.verdicts.cases import Case, Verdict

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


# Azure's templates of the others are not published, so that nothing can disagree with them.
EXAMPLES = [
    (name, change)
    for name, change in CHANGES
    if change["template"] in {template for each in deviations.DEVIATIONS for template in each.templates}
]


@pytest.mark.parametrize(("name", "change"), EXAMPLES, ids=[f"{name}-{change['what']}" for name, change in EXAMPLES])
def test_the_predicate_of_a_deviation_holds_for_its_example(name: str, change: dict[str, Any]) -> None:
    case = Case(change["template"], change.get("parameters", {}), change["object"])
    ours = change["newly"] == "denied"

    assert name in deviations.explaining(case, ours=ours)
    assert list(deviations.explaining(case, ours=not ours)) == []


def test_holes_and_wrong_denies_are_those_that_no_deviation_explains(monkeypatch: pytest.MonkeyPatch) -> None:
    def verdict(capability: str, *, azure: bool) -> Verdict:
        container = {"name": "web", "image": "web:1", "securityContext": {"capabilities": {"add": [capability]}}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [container]}}
        parameters = {"disallowedCapabilities": ["SYS_ADMIN"]}
        return Verdict(Case("container-disallowed-capabilities/v3", parameters, pod), azure)

    agreed, hole = verdict("SYS_ADMIN", azure=True), verdict("SYS_ADMIN", azure=True)
    deviation, wrong = verdict("CAP_SYS_ADMIN", azure=False), verdict("KILL", azure=False)
    monkeypatch.setattr(judge, "denied", lambda _cases: [True, False, True, True])

    rows = table.compare([agreed, hole, deviation, wrong])

    assert rows == {agreed.case.template: table.Row(4, [hole], [wrong], 0, Counter({"D5": 1}))}
    assert list(table.lines(rows))[1].split() == [agreed.case.template, "4", "1", "1", "0", "D5:", "1"]
