"""Each remedy of the bundle allows what the denied samples of its suite show, as gator judges it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.check.judge import judge
from controller.check.workloads import template_path
from controller.gatekeeper.model import DesiredObject, DesiredState, Role
from controller.policy.model import Member
from controller.why.fix import find_fix
from controller.why.remedies import remedies
from tests.cluster.harness import tools
from tests.templates.suites import BUNDLE, Case, cases, folder_name, load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from controller.check.judge import CheckResult
    from controller.check.manifests import Manifest
    from controller.why.fix import Fix

MEMBER: Final = Member(assignment_id="/assignments/a", definition_id="/definitions/d")
FOLDERS: Final = sorted(file.parent for file in BUNDLE.rglob("remedy.yaml"))
# What looks at pods and has no fix that can be known: what is allowed is said instead.
UNKNOWABLE: Final = frozenset(
    {
        "allowed-volume-types",
        "allowed-volume-types/v2",
        "block-default-namespace",
        "block-default-namespace/v1",
        "block-naked-pods/v1",
        "container-allowed-images",
        "container-allowed-images/v2",
        "container-allowed-ports/v1",
        "container-no-latest-image/v1",
        "container-no-latest-image/v2",
        "container-no-vulnerable-images/v1",
        "container-restricted-image-pulls/v1",
        "enforce-required-annotation/v1",
        "flexvolume-drivers",
        "flexvolume-drivers/v1",
        "image-integrity-notation-verification/v1",
        "pod-enforce-labels",
        "pod-enforce-labels/v1",
    }
)
# Denied samples that no edit can help, by folder and constraint, or with the object's name: with why.
NO_HELP: Final[Mapping[str, str]] = {
    "allowed-host-paths: constraint/denied": "paths that are not allowed",
    "allowed-host-paths: constraint-none": "no path is allowed",
    "allowed-host-paths/v3: allowed-host-paths/denied": "paths that are not allowed",
    "allowed-host-paths/v3: allowed-host-paths/os-windows": "paths that are not allowed",
    "allowed-host-paths/v3: root/denied": "a block device cannot be mounted for reading alone",
    "allowed-host-paths/v3: empty": "no path is allowed",
    "allowed-host-paths/v3: none": "no path is allowed",
    "allowed-host-paths/v4: allowed-host-paths/denied": "paths that are not allowed",
    "allowed-host-paths/v4: allowed-host-paths/windows-denied": "paths that are not allowed",
    "allowed-host-paths/v4: windows": "no Linux path is allowed",
    "allowed-host-paths/v4: none": "no path is allowed",
    "allowed-seccomp-profiles/v3: literal": "its entry is no profile",
    "allowed-seccomp-profiles/v3: empty": "no profile is allowed",
    "allowed-seccomp-profiles/v3: none": "no profile is allowed",
    "allowed-users-groups: unknown": "its rule is none",
    "allowed-users-groups: empty": "no id is allowed",
    "allowed-users-groups/v3: unknown": "its rule is none",
    "allowed-users-groups/v3: empty": "no id is allowed",
    "container-allowed-pull-policy/v2: empty": "no policy is allowed",
    "container-disallowed-capabilities: constraint-all": "no container is allowed, whatever it adds",
    "container-enforce-probes/v2: container-enforce-probes/denied": "no container names a port",
    "container-enforce-probes/v2: container-enforce-probes/windows": "no container names a port",
    "container-enforce-probes/v2: other": "a probe that Kubernetes does not have",
    "container-resource-limits/v3: unreadable": "its bounds cannot be read",
    "enforce-apparmor-profile/v3: local": "every local profile is allowed, and none is named",
    "enforce-apparmor-profile/v3: empty": "no profile is allowed",
    "pod-enforce-antiaffinity/v1: spread/plain": "no whole workload: it has no selector",
    "pod-enforce-antiaffinity/v1: spread/node-affinity": "no whole workload: it has no selector",
    "pod-enforce-antiaffinity/v1: spread/no-constraints": "no whole workload: it has no selector",
    "pod-enforce-antiaffinity/v1: spread/misplaced": "no whole workload: it has no selector",
    "windows-container-allowed-usernames/v1: empty": "no user is allowed",
}


@pytest.fixture(scope="module")
def gator() -> str:
    return str(tools.path("gator"))


def state(template: Mapping[str, Any], constraint: Mapping[str, Any]) -> DesiredState:
    denying = {**constraint, "spec": {**constraint["spec"], "enforcementAction": "deny"}}
    objects = (
        DesiredObject.of(Role.TEMPLATE, template, (MEMBER,)),
        DesiredObject.of(Role.CONSTRAINT, denying, (MEMBER,)),
    )
    return DesiredState("/clusters/c", objects, (), frozenset())


def fixed(folder: Path, case: Case, gator: str) -> Fix:
    """The fix of a case's object under its constraint."""
    name = case.constraint["metadata"]["name"]
    parameters = {name: case.constraint["spec"].get("parameters", {})}
    namespace = case.object["metadata"].get("namespace", "default")
    desired = state(load(folder / "template.yaml"), case.constraint)
    return find_fix(case.object, desired, parameters, gator=gator, namespace=namespace)


def denied(folder: Path) -> list[Case]:
    """The cases of objects that make pods and are denied; requests by certain users are not what a manifest shows."""
    return [
        case
        for case in cases(folder)
        if not case.allowed and case.matched and "request" not in case.object and template_path(case.object) is not None
    ]


def known(folder: Path) -> list[Case]:
    """Those of them that a fix can be known for."""

    def helpless(case: Case) -> bool:
        constraint = f"{folder_name(folder)}: {case.constraint['metadata']['name']}"
        return constraint in NO_HELP or f"{constraint}/{case.object['metadata'].get('name')}" in NO_HELP

    return [case for case in denied(folder) if not helpless(case)]


def test_every_template_that_looks_at_pods_has_a_remedy() -> None:
    looking = {
        folder_name(suite.parent)
        for suite in BUNDLE.rglob("suite.yaml")
        if "import data.lib.pod" in (rule := (suite.parent / "rule.rego").read_text()) or "lib.containers" in rule
    }

    assert looking <= {folder_name(folder) for folder in FOLDERS}


def test_a_remedy_is_of_its_templates_kind_and_names_its_parameters() -> None:
    for folder in FOLDERS:
        remedy, schema = load(folder / "remedy.yaml"), load(folder / "schema.yaml")
        declared = {*schema.get("parameters", {}), *schema.get("shared", ())}
        assert remedy["kind"] == schema["kind"], folder
        assert set(remedy.get("parameters", ())) <= declared, folder
        assert remedies()[remedy["kind"]].allowed, folder


def test_the_templates_without_a_fix_are_those_that_cannot_have_one() -> None:
    without = {folder_name(folder) for folder in FOLDERS if not remedies()[load(folder / "schema.yaml")["kind"]].edits}

    print(f"\n{len(FOLDERS)} templates have a remedy, {len(FOLDERS) - len(without)} of them a fix")
    assert without == UNKNOWABLE


@pytest.mark.parametrize("folder", [f for f in FOLDERS if folder_name(f) not in UNKNOWABLE], ids=folder_name)
def test_a_remedy_allows_what_the_denied_samples_show(folder: Path, gator: str) -> None:
    judged = known(folder)
    assert judged

    for case in judged:
        fix = fixed(folder, case, gator)
        assert fix.denied, case.name
        assert fix.admits, case.name
        assert fix.patch, case.name


def test_a_fix_changes_what_is_denied_and_nothing_else(gator: str) -> None:
    folder = BUNDLE / "container-no-privilege/v2"
    case = next(each for each in known(folder) if each.object["metadata"]["name"] == "denied")

    changes = fixed(folder, case, gator).changes[case.constraint["metadata"]["name"]]

    changed = {re.sub(r".*\[(.*)\].*", r"\1", each.path) for each in changes}
    assert changed == {"main", "Proxy", "other-tag", "case", "star-inside", "init", "debugger"}
    assert {each.path.rpartition("]")[2] for each in changes} == {".securityContext.privileged"}


def test_of_edits_that_stand_in_for_each_other_one_is_made(gator: str) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "two"},
        "spec": {"containers": [{"name": name, "image": "app"} for name in ("one", "two")]},
    }
    template = load(BUNDLE / "allowed-users-groups/v3/template.yaml")
    parameters = {"runAsUser": {"rule": "MustRunAs", "ranges": [{"min": 100, "max": 200}]}}
    constraint = {
        "apiVersion": "constraints.gatekeeper.sh/v1beta1",
        "kind": template["spec"]["crd"]["spec"]["names"]["kind"],
        "metadata": {"name": "users"},
        "spec": {"parameters": parameters},
    }

    fix = find_fix(pod, state(template, constraint), {"users": parameters}, gator=gator, namespace="default")

    assert fix.patch == ({"op": "add", "path": "/spec/securityContext", "value": {"runAsUser": 100}},)


def test_what_the_api_server_asks_for_is_changed_only_beside_what_the_policy_denies(gator: str) -> None:
    privileged = {"allowPrivilegeEscalation": True, "privileged": True}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "two"},
        "spec": {"containers": [{"name": n, "image": "app", "securityContext": privileged} for n in ("web", "proxy")]},
    }
    template = load(BUNDLE / "container-no-privilege-escalation/v3/template.yaml")
    parameters = {"excludedContainers": ["proxy"]}
    constraint = {
        "apiVersion": "constraints.gatekeeper.sh/v1beta1",
        "kind": template["spec"]["crd"]["spec"]["names"]["kind"],
        "metadata": {"name": "escalation"},
        "spec": {"parameters": parameters},
    }

    fix = find_fix(pod, state(template, constraint), {"escalation": parameters}, gator=gator, namespace="default")

    assert {each.path for each in fix.changes["escalation"]} == {
        "spec.containers[web].securityContext.allowPrivilegeEscalation",
        "spec.containers[web].securityContext.privileged",
    }


def test_no_edit_is_judged_twice(gator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = BUNDLE / "container-no-privilege/v2"
    case = next(each for each in known(folder) if each.object["metadata"]["name"] == "denied")
    asked: list[int] = []

    def counted(manifests: Sequence[Manifest], desired: DesiredState, **options: Any) -> CheckResult:
        asked.append(len(manifests))
        return judge(manifests, desired, **options)

    monkeypatch.setattr("controller.why.fix.judge", counted)

    assert fixed(folder, case, gator).admits

    # The object; then all edits, and all but each. What is needed is all of them, and that has been judged.
    assert len(asked) == 2
    assert asked[0] == 1
