"""What remedies propose can be made of any object, however odd, and is undone by nothing that the object holds."""

from __future__ import annotations

import copy
import random
from typing import Any, Final

import pytest

from controller.why.fix import json_patch
from controller.why.remedies import edited, proposed, remedies, spelled

POD: Final[dict[str, Any]] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "annotations": {"container.apparmor.security.beta.kubernetes.io/web": "unconfined"}},
    "spec": {
        "hostNetwork": True,
        "securityContext": {"sysctls": [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}], "runAsUser": 0},
        "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
        "containers": [
            {
                "name": "web",
                "image": "web",
                "ports": [{"containerPort": 1, "hostPort": 1}],
                "resources": {"limits": {"cpu": "4"}, "requests": {"cpu": "3"}},
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "securityContext": {"privileged": True, "capabilities": {"add": ["A", "SYS_ADMIN", "B"], "drop": []}},
            }
        ],
    },
}
PARAMETERS: Final[dict[str, Any]] = {
    "allowedProfiles": ["localhost/x"],
    "allowedPullPolicy": ["Always"],
    "allowedUserNames": ["domain\\*", "ContainerUser"],
    "cpuLimit": "1",
    "memoryLimit": "1Gi",
    "requiredDropCapabilities": ["ALL"],
    "runAsUser": {"rule": "MustRunAs", "ranges": [{"min": 7, "max": 8}]},
}
ODD: Final[tuple[Any, ...]] = (None, [], {}, "", "text", 0, True, [None], ["x"], {"x": []}, [[]])


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path below the kind, which decides whether an object makes pods."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    found = [(*path, key) for key, _ in entries]
    return [*found, *(deep for key, value in entries for deep in places(value, (*path, key)))]


def spoiled(rng: random.Random) -> dict[str, Any]:
    """The pod with something odd at one place of it."""
    pod = copy.deepcopy(POD)
    *parents, last = rng.choice(places(POD["spec"], ("spec",)))
    node: Any = pod
    for key in parents:
        node = node[key]
    node[last] = rng.choice(ODD)
    return pod


@pytest.mark.parametrize("kind", sorted(remedies()))
def test_edits_can_be_made_of_any_object(kind: str) -> None:
    rng = random.Random(kind)

    for _ in range(60):
        pod = spoiled(rng)
        before = copy.deepcopy(pod)
        edits = proposed(remedies()[kind], PARAMETERS, pod)
        list(json_patch(pod, edited(pod, edits)))
        for edit in edits:
            assert spelled(edit.path, pod)
        assert pod == before


def test_items_of_one_list_go_together() -> None:
    remedy = remedies()["K8sAzureV3DisallowedCapabilities"]

    made = edited(POD, proposed(remedy, {}, POD))

    assert made["spec"]["containers"][0]["securityContext"]["capabilities"]["add"] == []


def test_a_request_is_lowered_to_its_limit_only_where_it_is_above() -> None:
    remedy = remedies()["K8sAzureV3ContainerLimits"]

    def paths(limit: str) -> set[str]:
        return {spelled(e.path, POD) for e in proposed(remedy, {"cpuLimit": limit}, POD)}

    assert "spec.containers[web].resources.requests.cpu" in paths("2999m")
    assert "spec.containers[web].resources.requests.cpu" not in paths("3500m")


def test_a_value_that_the_parameters_do_not_give_is_not_proposed() -> None:
    remedy = remedies()["K8sAzureV2ContainerAllowedPullPolicy"]

    assert proposed(remedy, {"allowedPullPolicy": []}, POD) == ()
