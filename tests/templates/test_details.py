"""What violations tell besides their messages: gator's assertions do not see it, people's exports of violations do."""

from typing import Any

import pytest

from tests.templates import opa
from tests.templates.suites import BUNDLE, load

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "labels": {"app": "web"}}}


@pytest.mark.parametrize(
    ("template", "parameters", "details"),
    [
        ("enforce-required-annotation/v1", {"annotations": [{"key": "owner"}]}, {"missing_annotations": ["owner"]}),
        ("pod-enforce-labels", {"labels": ["app", "team", "tier"]}, {"missing_labels": ["team", "tier"]}),
        ("pod-enforce-labels/v1", {"labels": ["app", "team", "tier"]}, {"missing_labels": ["team", "tier"]}),
    ],
)
def test_the_keys_that_are_missing_are_told_as_details(
    template: str, parameters: dict[str, Any], details: dict[str, Any]
) -> None:
    document = load(BUNDLE / template / "template.yaml")

    [[violation]] = opa.violations(document, [opa.review_input(POD, parameters)])

    assert violation["details"] == details
