"""Values that can never match are noted, one test for each kind of value, and those that can are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from controller.gatekeeper.crd import parameters_schema
from controller.gatekeeper.meanings import meanings, value_notes
from controller.gatekeeper.sources import bundle_root
from controller.gatekeeper.yamltext import read_yaml

if TYPE_CHECKING:
    from controller.gatekeeper.schema import Schema

IMAGES = "K8sAzureV2ContainerAllowedImages"
LIMITS = "K8sAzureV3ContainerLimits"
CAPABILITIES = "K8sAzureV3AllowedCapabilities"
ANNOTATIONS = "K8sAzureV1RequiredAnnotations"


def notes(kind: str, parameters: dict[str, Any]) -> list[str]:
    return list(value_notes(kind, parameters, "values"))


@pytest.mark.parametrize(
    ("kind", "parameters", "note"),
    [
        (IMAGES, {"imageRegex": "^(?!.*:latest).+$"}, "values.imageRegex: '^(?!.*:latest).+$' never matches"),
        (IMAGES, {"imageRegex": "*.azurecr.io/.+"}, "it has nothing before * that could be repeated"),
        (IMAGES, {"imageRegex": "^https://registry\\.io/.+$"}, "matches no image: none has '//'"),
        (IMAGES, {"imageRegex": "^registry\\.io/ web$"}, "matches no image: none has ' '"),
        (IMAGES, {"excludedImages": ["*/web"]}, "values.excludedImages[0]: '*/web' matches no image: a * stands"),
        (IMAGES, {"excludedImages": ["http://a/*"]}, "none has '//'"),
        (IMAGES, {"excludedImages": ["web", ""]}, "values.excludedImages[1]: '' matches no image"),
        ("K8sAzureV1DefenderBlockVulnerableImages", {"excludedImages": ["a|*"]}, "nothing before *"),
        (ANNOTATIONS, {"annotations": [{"key": "a", "allowedRegex": "(?<=x)"}]}, "values.annotations[0].allowedRegex"),
        (LIMITS, {"memoryLimit": "1GB"}, "values.memoryLimit: '1GB' is no quantity"),
        (LIMITS, {"cpuLimit": "200mm"}, "'200mm' is no quantity"),
        (LIMITS, {"memoryLimit": "1 Gi"}, "'1 Gi' is no quantity"),
        (LIMITS, {"cpuLimit": ""}, "'' is no quantity"),
        (CAPABILITIES, {"allowedCapabilities": ["CHOWN", "NET_ADMINN"]}, "values.allowedCapabilities[1]: 'NET_ADMINN'"),
        (CAPABILITIES, {"requiredDropCapabilities": ["everything"]}, "'everything' is no capability that can match"),
        ("K8sAzureV3AllowedSeccomp", {"allowedProfiles": ["runtimeDefault"]}, "is no seccomp profile that can match"),
        ("K8sAzureV3AllowedSeccomp", {"allowedProfiles": []}, "values.allowedProfiles is an empty list"),
        (
            "K8sAzureV3EnforceAppArmor",
            {"allowedProfiles": ["RuntimeDefault"]},
            "'RuntimeDefault' is no apparmor profile",
        ),
        ("K8sAzureV2VolumeTypes", {"volumes": ["configmap"]}, "'configmap' is no volume type"),
        ("K8sAzureV2ContainerAllowedPullPolicy", {"allowedPullPolicy": []}, "is an empty list, which allows nothing"),
        ("K8sAzureV2ContainerAllowedPullPolicy", {"allowedPullPolicy": ["always"]}, "'always' is no pull policy"),
        ("K8sAzureV2ContainerEnforceProbes", {"enforceProbes": ["readiness"]}, "'readiness' is no probe"),
        (
            "K8sAzureV3AllowedUsersGroups",
            {"runAsUser": {"rule": "MayRunAs"}},
            "values.runAsUser.rule: 'MayRunAs' is no",
        ),
        ("K8sAzureV3AllowedUsersGroups", {"fsGroup": {"rule": "mayrunas"}}, "'mayrunas' is no group rule"),
    ],
)
def test_a_value_that_can_never_match_is_noted_with_its_place(kind: str, parameters: dict[str, Any], note: str) -> None:
    [found] = notes(kind, parameters)

    assert note in found


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        (IMAGES, {"imageRegex": r"^([^\/]+\.azurecr\.io|mcr\.microsoft\.com)\/.+$", "excludedImages": ["a/b:*", "*"]}),
        (IMAGES, {"imageRegex": r"^\[::1\]:5000/a(@sha256:[0-9a-f]{64})?$|https://"}),
        (IMAGES, {"imageRegex": "", "excludedContainers": ["*what ever"]}),
        *((LIMITS, {"memoryLimit": value}) for value in ("1Gi", "0", "1.5G", ".5", "1e3", "12E", "100m", "+1")),
        (CAPABILITIES, {"allowedCapabilities": ["net_admin", "CAP_CHOWN", "*", "ALL"]}),
        (CAPABILITIES, {"allowedCapabilities": []}),
        ("K8sAzureV3AllowedSeccomp", {"allowedProfiles": ["localhost/*", "Localhost", "docker/default", "*"]}),
        ("K8sAzureV3EnforceAppArmor", {"allowedProfiles": ["localhost/mine", "runtime/default"]}),
        ("K8sSomebodysOwn", {"imageRegex": "(?!x)", "cpuLimit": "1GB"}),
    ],
)
def test_a_value_that_can_match_has_no_note(kind: str, parameters: dict[str, Any]) -> None:
    assert notes(kind, parameters) == []


def test_a_long_list_has_a_few_notes() -> None:
    assert len(notes(CAPABILITIES, {"allowedCapabilities": ["x"] * 1000})) == 3


def test_each_meaning_is_of_a_parameter_of_the_bundle() -> None:
    schemas: dict[str, Schema] = {}
    for file in bundle_root().glob("*/v*/template.yaml"):
        template: Any = read_yaml(file.read_text())
        schemas[template["spec"]["crd"]["spec"]["names"]["kind"]] = parameters_schema(template)

    for kind, paths in meanings().kinds.items():
        for path, meant in paths.items():
            assert [meanings().told(each, "x") for each in meant]
            first, *rest = path.split(".")
            if kind == "*" or (first == "excludedImages" and first not in schemas[kind].properties):
                continue
            schema = schemas[kind].properties[first]
            for name in rest:
                schema = (schema.items or schema).properties[name]
            assert (schema.items or schema).type == "string" or (schema.items or schema).int_or_string
