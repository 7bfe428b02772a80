"""The decisions that the bundle takes otherwise than Azure's templates, each as a predicate over a case.

templates/deviations.yaml says what they are and why. Nothing here reads our Rego: a disagreement is explained only by a
deviation whose predicate holds for exactly that case, that template and that direction.
"""

import enum
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.verdicts import objects, pod_rules, rules
from tests.verdicts.cases import Case
from tests.verdicts.quantities import value

SCAN = "azuredefender.io/containers.vulnerability.scan.info"
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


class Newly(enum.StrEnum):
    """What becomes of an object for somebody who comes from Azure's templates."""

    DENIED = "denied"
    ADMITTED = "admitted"


@dataclass(frozen=True, slots=True)
class Deviation:
    """One direction of a decision, in the templates that it is about."""

    id: str
    newly: Newly
    templates: tuple[str, ...]
    holds: Callable[[Case], bool]


def explaining(case: Case, *, ours: bool) -> Iterator[str]:
    """The ids of the deviations that explain why we deny (`ours`) or admit a case, and Azure does the other.

    None where the same rules in Python decide otherwise than ours: then the rule is wrong, deviation or not.
    """
    if rules.denied(case) != ours:
        return
    newly = Newly.DENIED if ours else Newly.ADMITTED
    for deviation in DEVIATIONS:
        if deviation.newly == newly and case.template in deviation.templates and deviation.holds(case):
            yield deviation.id


def names_windows_alone(case: Case) -> bool:
    """D1: a Windows pod by spec.os.name, and not by its nodeSelector."""
    return objects.names_windows(case) and not objects.selects_windows(case)


def uses_host_path_otherwise(case: Case) -> bool:
    """D3: a container uses a host path as a device, or an ephemeral container mounts it."""
    paths = {volume["name"] for volume in case.spec.get("volumes", []) if "hostPath" in volume}
    mounts = [
        *(mount for each in objects.judged(case, ("ephemeralContainers",)) for mount in each.get("volumeMounts", [])),
        *(device for each in objects.judged(case) for device in each.get("volumeDevices", [])),
    ]
    return any(mount["name"] in paths for mount in mounts)


def may_write_endpoints(case: Case) -> bool:
    """D4: a rule of the role gives the right by a wildcard, or for EndpointSlices."""
    return any(
        {"*", "endpoints", "endpointslices"} & set(rule.get("resources", []))
        and {"*", "create", "patch", "update"} & set(rule.get("verbs", []))
        for rule in case.object.get("rules") or []
    )


def adds_a_listed_capability(case: Case) -> bool:
    """D5: an added capability is listed in another spelling, or is ALL, or ALL is listed."""
    listed = {_capability(name) for name in case.parameters.get("disallowedCapabilities", [])}
    added = {_capability(name) for each in objects.judged(case) for name in _added(each)}
    return bool(listed & added) or bool(listed and "ALL" in added) or bool("ALL" in listed and added)


def adds_no_capability(case: Case) -> bool:
    """D5: `*` is listed, and no container adds anything."""
    listed = case.parameters.get("disallowedCapabilities", [])
    return "*" in listed and not any(_added(each) for each in objects.judged(case))


def _capability(name: str) -> str:
    return name.upper().removeprefix("CAP_")


def _added(container: Mapping[str, Any]) -> list[str]:
    added: list[str] = (objects.security(container).get("capabilities") or {}).get("add") or []
    return added


def has_a_field_that_is_not_allowed(case: Case) -> bool:
    """D6: a container without annotation asks by a field for a profile that is not in the list."""
    return any(not _apparmor_allowed(profile, case) for profile in _apparmor_fields(case))


def has_only_profiles_that_are_allowed(case: Case) -> bool:
    """D6: with the fields and with localhost/* every container has an allowed profile."""
    return all(_apparmor_allowed(_apparmor(each, case), case) for each in objects.judged(case))


def _apparmor_fields(case: Case) -> Iterator[str]:
    for container in objects.judged(case):
        if APPARMOR + container["name"] not in objects.annotations(case):
            yield _apparmor(container, case)


def _apparmor(container: Mapping[str, Any], case: Case) -> str:
    annotation = objects.annotations(case).get(APPARMOR + container["name"])
    if annotation is not None:
        return annotation
    for owner in (container, case.spec):
        if field := objects.security(owner).get("appArmorProfile"):
            written = {"RuntimeDefault": "runtime/default", "Unconfined": "unconfined"}
            return written.get(field["type"]) or f"localhost/{field['localhostProfile']}"
    return "runtime/default"


def _apparmor_allowed(profile: str, case: Case) -> bool:
    allowed = case.parameters.get("allowedProfiles", [])
    return profile in allowed or ("localhost/*" in allowed and profile.startswith("localhost/"))


def sets_a_forbidden_sysctl(case: Case) -> bool:
    """D7: a sysctl is forbidden where slashes are dots, be they in its name or in an entry."""
    sysctls = objects.security(case.spec).get("sysctls") or []
    pairs = itertools.product((each["name"] for each in sysctls), case.parameters.get("forbiddenSysctls", []))
    return any(
        "/" in name + entry and name.replace("/", ".").startswith(entry.strip("*").replace("/", "."))
        for name, entry in pairs
    )


def runs_as_administrator(case: Case) -> bool:
    """D8: a container runs as ContainerAdministrator in another spelling than that."""
    return any(user.lower().removeprefix("user manager\\") == "containeradministrator" for user in _windows_users(case))


def runs_as_a_user_of_another_domain(case: Case) -> bool:
    r"""D8: the entry CORP\* is a prefix of a user whose domain is not CORP."""
    domains = {entry[:-2] for entry in case.parameters.get("allowedUserNames", []) if entry.endswith("\\*")}
    return any(
        "\\" in user and user.partition("\\")[0] not in domains and user.startswith(tuple(domains))
        for user in _windows_users(case)
    )


def _windows_users(case: Case) -> Iterator[str]:
    for container in objects.judged(case, objects.LASTING):
        for owner in (container, case.spec):
            user = (objects.security(owner).get("windowsOptions") or {}).get("runAsUserName")
            if user is not None:
                yield user
                break


def has_a_bad_image_beside_a_free_one(case: Case) -> bool:
    """D9: an entry is healthy or excluded, and another is not."""
    try:
        entries = json.loads(objects.annotations(case).get(SCAN, "{}")).get("containers") or []
    except json.JSONDecodeError:
        return False
    free = [
        entry.get("scanStatus") == "healthyScan"
        or any(
            re.search(pattern, entry.get("image", {}).get("name", ""))
            for pattern in case.parameters.get("excludedImages", [])
        )
        for entry in entries
    ]
    return any(free) and not all(free)


def asks_for_its_limits_in_other_words(case: Case) -> bool:
    """D13: each container has both limits and asks for as much as they are, in another spelling."""
    return all(_asks_for_its_limits(container) for container in objects.judged(case, objects.LASTING))


def _asks_for_its_limits(container: Mapping[str, Any]) -> bool:
    resources = container.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    names = {"cpu", "memory"}
    return names <= set(limits) and all(value(requests[name]) == value(limits[name]) for name in names & set(requests))


def has_an_image_without_report(case: Case) -> bool:
    """D16: the verifier turns an image down and reports nothing."""
    statuses = (case.object.get("status") or {}).get("containerStatuses") or []
    ids = {status["name"]: status.get("imageID") for status in statuses}
    judged = [(each.get("image", ""), ids.get(each["name"]) or "") for each in objects.judged(case)]
    return any("/noreport/" in image or "/noreport/" in running for image, running in judged)


def has_not_been_created(case: Case) -> bool:
    """O1: a manifest leaves the service account's token to the API server."""
    return "uid" not in case.object["metadata"] and case.spec.get("automountServiceAccountToken") is None


def would_get_another_pull_policy(case: Case) -> bool:
    """O2: a container without pull policy would get one that is not allowed."""
    allowed = case.parameters.get("allowedPullPolicy", [])
    return any(
        "imagePullPolicy" not in container and pod_rules.default_pull_policy(container.get("image", "")) not in allowed
        for container in objects.judged(case)
    )


def spreads_its_pods(case: Case) -> bool:
    """N1: a workload has topologySpreadConstraints, which Azure's newer text takes instead of podAntiAffinity."""
    return bool(case.spec["template"]["spec"].get("topologySpreadConstraints"))


DEVIATIONS = (
    Deviation(
        "D1",
        Newly.ADMITTED,
        (
            "allowed-seccomp-profiles/v3",
            "allowed-users-groups/v3",
            "container-allowed-capabilities/v3",
            "read-only-root-filesystem/v3",
        ),
        names_windows_alone,
    ),
    Deviation(
        "D1",
        Newly.DENIED,
        (
            "windows-block-container-admin/v1",
            "windows-container-allowed-usernames/v1",
            "windows-container-resources/v1",
        ),
        names_windows_alone,
    ),
    Deviation("D3", Newly.DENIED, ("allowed-host-paths/v3",), uses_host_path_otherwise),
    Deviation("D4", Newly.DENIED, ("block-endpoint-edit-default-role/v1",), may_write_endpoints),
    Deviation("D5", Newly.DENIED, ("container-disallowed-capabilities/v3",), adds_a_listed_capability),
    Deviation("D5", Newly.ADMITTED, ("container-disallowed-capabilities/v3",), adds_no_capability),
    Deviation("D6", Newly.DENIED, ("enforce-apparmor-profile/v3",), has_a_field_that_is_not_allowed),
    Deviation("D6", Newly.ADMITTED, ("enforce-apparmor-profile/v3",), has_only_profiles_that_are_allowed),
    Deviation("D7", Newly.DENIED, ("forbidden-sysctl-interfaces/v1",), sets_a_forbidden_sysctl),
    Deviation("D8", Newly.DENIED, ("windows-block-container-admin/v1",), runs_as_administrator),
    Deviation("D8", Newly.DENIED, ("windows-container-allowed-usernames/v1",), runs_as_a_user_of_another_domain),
    Deviation("D9", Newly.DENIED, ("container-no-vulnerable-images/v1",), has_a_bad_image_beside_a_free_one),
    Deviation("D13", Newly.ADMITTED, ("windows-container-resources/v1",), asks_for_its_limits_in_other_words),
    Deviation("D16", Newly.DENIED, ("image-integrity-notation-verification/v1",), has_an_image_without_report),
    Deviation("O1", Newly.DENIED, ("block-automount-token/v2",), has_not_been_created),
    Deviation("O2", Newly.DENIED, ("container-allowed-pull-policy/v2",), would_get_another_pull_policy),
    Deviation("N1", Newly.ADMITTED, ("pod-enforce-antiaffinity/v1",), spreads_its_pods),
)
