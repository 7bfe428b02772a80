"""A match that can match nothing is enforced all the same, and says so in a note."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.gatekeeper.builtin_kinds import CONNECTED, is_namespaced, is_unknown
from controller.gatekeeper.match_notes import match_notes

if TYPE_CHECKING:
    from collections.abc import Mapping

EXCLUDED: Final = ["kube-system", "gatekeeper-system", "azure-arc"]
NAME: Final = "kubernetes.io/metadata.name"


def match(*kinds: str, groups: tuple[str, ...] = ("",), **fields: Any) -> dict[str, Any]:
    """A match as azpolicy writes it."""
    listed = [{"apiGroups": list(groups), "kinds": list(kinds or ("Pod",))}]
    return {"kinds": listed, "excludedNamespaces": EXCLUDED, **fields}


def named(*values: str, operator: str = "In") -> dict[str, Any]:
    """A selector of namespaces by their names."""
    return {"matchExpressions": [{"key": NAME, "operator": operator, "values": list(values)}]}


CONTRADICTION: Final = {
    "matchExpressions": [{"key": "app", "operator": "Exists"}, {"key": "app", "operator": "DoesNotExist"}]
}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (match(namespaces=["kube-system"]), "of its namespaces (kube-system), each is excluded (kube-system, gate"),
        (match(namespaces=["kube-system", "azure-arc"]), "of its namespaces (kube-system, azure-arc)"),
        (match("Pod", "Namespace", namespaces=["kube-system"]), "each is excluded"),
        (match(namespaces=["kube-system", "shop"], excludedNamespaces=["*"]), "every namespace is excluded"),
        (match(excludedNamespaces=["**"]), "every namespace is excluded"),
        (match(namespaces=["shop-*", "shop"], excludedNamespaces=["sho*"]), "each is excluded (sho*)"),
        (match(namespaces=["*-shop"], excludedNamespaces=["*shop"]), "each is excluded"),
        (match(namespaces=["a-shop-b", "*-shop-*"], excludedNamespaces=["*shop*"]), "each is excluded"),
        (match(namespaceSelector=named("kube-system")), "of its namespaces (kube-system), each is excluded"),
        (match(namespaceSelector={"matchLabels": {NAME: "azure-arc"}}), "of its namespaces (azure-arc)"),
        (match(namespaceSelector=named(operator="DoesNotExist")), f"in its namespaceSelector, {NAME} is always there"),
        (match(namespaceSelector=CONTRADICTION), "in its namespaceSelector, app is to be there and not to be there"),
        (match(labelSelector=CONTRADICTION), "in its labelSelector, app is to be there and not to be there"),
        (match("Node", labelSelector=CONTRADICTION), "in its labelSelector"),
        (
            match(labelSelector={"matchExpressions": [{"key": "app", "operator": "In", "values": []}]}),
            "app is to be one of no values",
        ),
        (match("Widget", groups=("shop.io",), scope="Namespaced", namespaces=["azure-arc"]), "each is excluded"),
        (match("Pod", scope="Cluster"), "its scope is Cluster, and Pod has a namespace"),
        (match("Namespace", "Node", scope="Namespaced"), "its scope is Namespaced, and Namespace or Node has no names"),
        (match("ClusterRole", groups=("rbac.authorization.k8s.io",), scope="Namespaced"), "has no namespace"),
        (match("Pod", groups=("apps",)), "Kubernetes has no kind Pod in apps"),
        (match("pod"), "Kubernetes has no kind pod in the core group"),
        (match("Pods", "Deployment"), "no kind Deployment in the core group or Pods in the core group"),
        (match("Pods", "Deployment"), "; Deployment is in apps and extensions"),
    ],
)
def test_what_can_match_nothing_says_why(given: Mapping[str, Any], words: str) -> None:
    (note,) = match_notes(given, action="deny")[:1]

    assert note.startswith("it can match nothing: ")
    assert words in note
    assert match_notes(given, action="dryrun") == match_notes(given, action="deny")


@pytest.mark.parametrize(
    "given",
    [
        match(),
        {},
        match(namespaces=["shop"]),
        match(namespaces=["kube-system", "shop"]),
        match(namespaces=["kube-*"]),
        match(namespaces=["*"]),
        match(namespaces=["*shop"], excludedNamespaces=["shop*", "shop"]),
        match(namespaces=["shop"], excludedNamespaces=["shops", "*-shop", "sho"]),
        match(excludedNamespaces=["kube-*", ""]),
        # An object without a namespace is left out by none of these.
        match("Node", namespaces=["kube-system"]),
        match("Pod", "Node", namespaces=["kube-system"]),
        match("Widget", groups=("shop.io",), namespaces=["kube-system"]),
        match("Node", excludedNamespaces=["*"]),
        match("Node", namespaceSelector=CONTRADICTION),
        match("Node", "Pod", scope="Cluster"),
        match("Node", "Pod", scope="Namespaced"),
        match("Widget", groups=("shop.io",), scope="Cluster"),
        match("Pod", scope="*"),
        match("Deployment", "Pod", groups=("", "apps")),
        match("Ingress", groups=("extensions", "networking.k8s.io")),
        match(labelSelector={"matchLabels": {"app": "web"}}),
        match(namespaceSelector=named("shop", "kube-system")),
    ],
)
def test_what_can_match_something_has_no_note(given: Mapping[str, Any]) -> None:
    assert match_notes(given, action="deny") == ()


def test_what_no_webhook_is_asked_about_is_told_where_it_is_to_be_denied() -> None:
    hooks = match("ValidatingWebhookConfiguration", groups=("admissionregistration.k8s.io",))
    (note,) = match_notes(hooks, action="deny")
    (connected,) = match_notes(match("PodExecOptions"), action="warn")

    assert "no ValidatingWebhookConfiguration.admissionregistration.k8s.io" in note
    assert "only audits find it" in note
    assert "CONNECT" in connected
    assert match_notes(hooks, action="dryrun") == ()
    assert match_notes(match("PodExecOptions", "Pod"), action="deny") == ()


def test_kinds_are_known_by_group_and_letters() -> None:
    assert is_namespaced("", "Pod") is True
    assert is_namespaced("", "Namespace") is False
    assert is_namespaced("apps", "Pod") is None
    assert is_unknown("apps", "Pod")
    assert not is_unknown("shop.io", "Pod")
    assert not is_unknown("", "*")
    assert not any(is_unknown(*each) for each in CONNECTED)
