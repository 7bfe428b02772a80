"""Random reviews: our Rego decides them as the same rules in Python do."""

import json
from collections import defaultdict
from fractions import Fraction

import pytest

from tests.verdicts import generate, judge, quantities, rules
from tests.verdicts.cases import Case

TEMPLATES = sorted(rules.RULES)
COUNT = 50 * len(TEMPLATES)
SEED = 20


@pytest.mark.timeout(600)
def test_rego_and_python_decide_alike() -> None:
    slips = [
        (outcome.case.template, "rego" if outcome.rego else "python", outcome.case.parameters)
        for outcome in generate.judged(generate.reviews(TEMPLATES, COUNT, SEED))
        if outcome.rego != outcome.python
    ]

    assert slips == [], f"see `python -m tests.verdicts.generate --count 3000 --seed {SEED} TEMPLATE`"


def test_every_template_denies_some_reviews_and_admits_some() -> None:
    """Python's verdicts say it, and Rego's are the same: opa need not judge twice where two workers share a file."""
    verdicts = defaultdict[str, set[bool]](set)
    for case in generate.reviews(TEMPLATES, COUNT, SEED):
        verdicts[case.template].add(rules.denied(case))

    assert [name for name, found in verdicts.items() if found != {True, False}] == []
    assert len(verdicts) == len(TEMPLATES)


def test_the_same_seed_makes_the_same_reviews() -> None:
    first, second, other = (
        json.dumps([case.manifest for case in generate.reviews(TEMPLATES, 200, seed)]) for seed in (1, 1, 2)
    )

    assert first == second
    assert first != other


def test_a_slip_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "enforce-csi-driver/v1"
    monkeypatch.setattr(rules, "RULES", {name: lambda case: case.object["provisioner"] == "disk.csi.azure.com"})

    found = {
        (outcome.case.object["provisioner"], outcome.rego, outcome.python)
        for outcome in generate.judged(generate.reviews([name], 40, seed=1))
        if outcome.rego != outcome.python
    }

    assert found == {
        ("kubernetes.io/azure-disk", True, False),
        ("kubernetes.io/azure-file", True, False),
        ("disk.csi.azure.com", False, True),
    }


def test_what_cannot_be_judged_is_an_error() -> None:
    case = Case("enforce-csi-driver/v1", {}, {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"})

    with pytest.raises(judge.JudgeError, match=r"^enforce-csi-driver/v1: an AdmissionReview has no request"):
        judge.denied([case])


def test_quantities_are_exact() -> None:
    found = {text: quantities.value(text) for text in ("100m", "1e-1", "0.1", "1Gi", "1e9", "1G", "500n", "2")}

    assert found == {
        "100m": Fraction(1, 10),
        "1e-1": Fraction(1, 10),
        "0.1": Fraction(1, 10),
        "1Gi": Fraction(2**30),
        "1e9": Fraction(10**9),
        "1G": Fraction(10**9),
        "500n": Fraction(1, 2 * 10**6),
        "2": Fraction(2),
    }
    with pytest.raises(ValueError, match="no quantity"):
        quantities.value("1 GiB")
