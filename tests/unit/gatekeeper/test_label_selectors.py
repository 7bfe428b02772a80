"""What shows of a label selector by itself."""

from __future__ import annotations

from typing import Any

import pytest

from controller.gatekeeper.label_selectors import contradiction, narrowing, query, requirements


def asks(*requirements: tuple[str, str, list[str]], **labels: str) -> dict[str, Any]:
    """A selector of these labels and requirements."""
    return {
        "matchLabels": labels,
        "matchExpressions": [{"key": key, "operator": how, "values": values} for key, how, values in requirements],
    }


@pytest.mark.parametrize(
    "selector",
    [
        asks(("app", "In", [])),
        asks(("app", "Exists", []), ("app", "DoesNotExist", [])),
        asks(("app", "DoesNotExist", []), app="web"),
        asks(("app", "In", ["a", "b"]), ("app", "In", ["c"])),
        asks(("app", "In", ["a", "b"]), ("app", "NotIn", ["a", "b", "c"])),
        asks(("app", "NotIn", ["web"]), app="web"),
        asks(("app", "In", ["api"]), app="web"),
        asks(("tier", "Exists", []), ("app", "NotIn", ["web"]), app="web"),
    ],
)
def test_a_selector_that_contradicts_itself_is_told_with_the_label(selector: dict[str, Any]) -> None:
    assert "app" in contradiction(selector)


@pytest.mark.parametrize(
    "selector",
    [
        {},
        None,
        "app",
        asks(app="web"),
        asks(("app", "In", ["a", "b"]), ("app", "NotIn", ["a"])),
        asks(("app", "Exists", []), ("app", "NotIn", ["a"])),
        asks(("app", "DoesNotExist", []), ("app", "NotIn", ["a"])),
        asks(("app", "DoesNotExist", []), ("tier", "Exists", [])),
        {"matchExpressions": [7, {"key": 1, "operator": "In"}, {"key": "app", "operator": "Like"}]},
        {"matchLabels": ["app"], "matchExpressions": {"key": "app"}},
    ],
)
def test_a_selector_that_some_labels_fit_is_no_contradiction(selector: object) -> None:
    assert contradiction(selector) == ""


def test_what_every_object_has_cannot_be_missing() -> None:
    selector = asks(("name", "DoesNotExist", []))

    assert contradiction(selector, always=frozenset({"name"})) == "name is always there"
    assert contradiction(selector) == ""


def test_a_selector_is_told_as_the_api_is_asked() -> None:
    selector = asks(("app", "In", ["b", "a"]), ("env", "NotIn", ["x"]), ("t", "Exists", []), ("u", "DoesNotExist", []))

    assert query(selector) == "app in (a,b),env notin (x),t,!u"
    assert narrowing(selector) == ("app in (a,b)", "t")
    assert requirements({}) == ()
