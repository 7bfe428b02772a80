"""The effect table cell by cell, and every rule about `match`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from controller.azure.model import EnforcementMode
from controller.gatekeeper.documents import DocumentError
from controller.gatekeeper.manifests import SYSTEM_NAMESPACES, enforcement_action, match_block, without_nulls
from controller.policy.model import Effect, Match

if TYPE_CHECKING:
    from controller.jsontypes import Json

PODS = Match(api_groups=("",), kinds=("Pod",))


@pytest.mark.parametrize(
    ("effect", "warn", "default", "not_enforced"),
    [
        (Effect.DENY, False, "deny", "dryrun"),
        (Effect.DENY, True, "deny", "dryrun"),
        (Effect.AUDIT, False, "dryrun", "dryrun"),
        (Effect.AUDIT, True, "warn", "dryrun"),
        (Effect.DISABLED, False, "", ""),
        (Effect.DISABLED, True, "", ""),
        (Effect.MUTATE, False, "", ""),
    ],
)
def test_effect_and_enforcement_mode_give_the_action_of_the_table(
    effect: Effect, warn: bool, default: str, not_enforced: str
) -> None:
    actions = {mode: enforcement_action(effect, mode, warn=warn) for mode in EnforcementMode}

    assert actions == {
        EnforcementMode.DEFAULT: default,
        EnforcementMode.DO_NOT_ENFORCE: not_enforced,
        EnforcementMode.ENROLL: not_enforced,
    }


def test_kinds_are_one_entry_and_what_is_empty_is_left_out() -> None:
    match = match_block(Match(api_groups=("", "apps"), kinds=("Pod", "Deployment")), ())

    assert match == {"kinds": [{"apiGroups": ["", "apps"], "kinds": ["Pod", "Deployment"]}], "source": "Original"}


def test_a_match_that_cannot_fit_a_pod_needs_no_source() -> None:
    assert "source" not in match_block(Match(api_groups=("",), kinds=("Service",)), ())


def test_system_namespaces_that_are_missing_come_behind_those_that_are_given() -> None:
    match = match_block(
        Match(("",), ("Pod",), excluded_namespaces=("z", "gatekeeper-system", "a")), (*SYSTEM_NAMESPACES, "azpolicy")
    )

    assert match["excludedNamespaces"] == ["z", "gatekeeper-system", "a", "kube-system", "azure-arc", "azpolicy"]


def test_everything_that_a_policy_says_about_its_match_is_in_it() -> None:
    match = match_block(
        Match(
            api_groups=("",),
            kinds=("Pod",),
            namespaces=("a", "b"),
            label_selector={"matchLabels": {"team": "x"}, "matchExpressions": None},
            source="Original",
            scope="Namespaced",
        ),
        (),
    )

    assert match == {
        "kinds": [{"apiGroups": [""], "kinds": ["Pod"]}],
        "namespaces": ["a", "b"],
        "labelSelector": {"matchLabels": {"team": "x"}},
        "source": "Original",
        "scope": "Namespaced",
    }


def test_a_file_s_own_match_stands_where_the_policy_says_nothing() -> None:
    base: dict[str, Json] = {
        "kinds": [{"apiGroups": ["apps"], "kinds": ["Deployment"]}],
        "scope": "Cluster",
        "source": "All",
        "excludedNamespaces": ["own"],
    }

    match = match_block(Match(source="Original"), ("kube-system",), base)

    assert match == {
        "kinds": [{"apiGroups": ["apps"], "kinds": ["Deployment"]}],
        "scope": "Cluster",
        "source": "Original",
        "excludedNamespaces": ["own", "kube-system"],
    }
    assert base["excludedNamespaces"] == ["own"]


def test_a_file_whose_exclusions_are_no_list_is_refused() -> None:
    with pytest.raises(DocumentError, match="excludedNamespaces is not a list of names"):
        match_block(Match(), (), {"excludedNamespaces": {"a": 1}})


def test_null_is_absent_at_every_depth() -> None:
    assert without_nulls({"a": None, "b": [{"c": None, "d": 0}, None, []], "e": {"f": {"g": None}}, "h": False}) == {
        "b": [{"d": 0}, []],
        "e": {"f": {}},
        "h": False,
    }


def test_a_value_without_nulls_is_used_as_it_is() -> None:
    value: Json = {"a": [{"b": 1, "c": ["x"]}]}

    assert without_nulls(value) is value
