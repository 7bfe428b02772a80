"""The decisions that the bundle takes otherwise than Azure's templates, each as a predicate over a case.

templates/deviations.yaml says what they are and why. Nothing here reads our Rego: a disagreement is explained only by a
deviation whose predicate holds for exactly that case, that template and that direction.
"""

import enum
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.verdicts import objects, rules
from tests.verdicts.cases import Case
from tests.verdicts.object_rules import scanned
from tests.verdicts.pod_rules import (
    APPARMOR,
    apparmor,
    capabilities,
    default_pull_policy,
    dotted,
    matches,
    spelled,
    windows_user,
)
from tests.verdicts.quantities import value


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
    listed = {spelled(name) for name in case.parameters.get("disallowedCapabilities", [])}
    added = {spelled(name) for each in objects.judged(case) for name in capabilities(each)[0]}
    return bool(listed & added or (listed and "ALL" in added) or ("ALL" in listed and added))


def adds_no_capability(case: Case) -> bool:
    """D5: `*` is listed, and no container adds anything."""
    listed = case.parameters.get("disallowedCapabilities", [])
    return "*" in listed and not any(capabilities(each)[0] for each in objects.judged(case))


def asks_by_a_field(case: Case) -> bool:
    """D6: a container without annotation has a profile by a field, and it is none of the list."""
    return any(
        APPARMOR + each["name"] not in objects.annotations(case)
        and apparmor(each, case) not in {"runtime/default", *case.parameters.get("allowedProfiles", [])}
        for each in objects.judged(case)
    )


def asks_by_a_field_or_for_a_file(case: Case) -> bool:
    """D6: a container has no annotation, and another profile than runtime/default; or localhost/* is listed."""
    return "localhost/*" in case.parameters.get("allowedProfiles", []) or any(
        APPARMOR + each["name"] not in objects.annotations(case) and apparmor(each, case) != "runtime/default"
        for each in objects.judged(case)
    )


def sets_a_forbidden_sysctl(case: Case) -> bool:
    """D7: a sysctl is forbidden in the spelling with dots, and its name or the entry has a slash."""
    names = [each["name"] for each in objects.security(case.spec).get("sysctls") or []]
    pairs = itertools.product(names, case.parameters.get("forbiddenSysctls", []))
    return any("/" in name + entry and dotted(name).startswith(dotted(entry.strip("*"))) for name, entry in pairs)


def runs_as_administrator(case: Case) -> bool:
    """D8: a container runs as ContainerAdministrator in another spelling than that."""
    return any(user.lower().endswith("containeradministrator") for user in _windows_users(case))


def runs_as_a_user_of_another_domain(case: Case) -> bool:
    r"""D8: the entry CORP\* is a prefix of a user whose domain is not CORP."""
    domains = {entry[:-2] for entry in case.parameters.get("allowedUserNames", []) if entry.endswith("\\*")}
    return any(
        "\\" in user and user.partition("\\")[0] not in domains and user.startswith(tuple(domains))
        for user in _windows_users(case)
    )


def _windows_users(case: Case) -> list[str]:
    users = (windows_user(each, case) for each in objects.judged(case, objects.LASTING))
    return [user for user in users if user is not None]


def has_a_healthy_or_excluded_image(case: Case) -> bool:
    """D9: an entry is healthy or excluded, which frees the others in Azure's template."""
    excluded = case.parameters.get("excludedImages", [])
    return any(
        entry["scanStatus"] == "healthyScan" or any(matches(each, entry["image"]["name"]) for each in excluded)
        for entry in scanned(case)
    )


def asks_for_its_limits_in_other_words(case: Case) -> bool:
    """D13: a request is as much as its limit, in another spelling."""
    resources = [each.get("resources") or {} for each in objects.judged(case, objects.LASTING)]
    pairs = [
        (request, (each.get("limits") or {}).get(name))
        for each in resources
        for name, request in (each.get("requests") or {}).items()
    ]
    return any(limit is not None and request != limit and value(request) == value(limit) for request, limit in pairs)


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
        "imagePullPolicy" not in container and default_pull_policy(container.get("image", "")) not in allowed
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
    Deviation("D6", Newly.DENIED, ("enforce-apparmor-profile/v3",), asks_by_a_field),
    Deviation("D6", Newly.ADMITTED, ("enforce-apparmor-profile/v3",), asks_by_a_field_or_for_a_file),
    Deviation("D7", Newly.DENIED, ("forbidden-sysctl-interfaces/v1",), sets_a_forbidden_sysctl),
    Deviation("D8", Newly.DENIED, ("windows-block-container-admin/v1",), runs_as_administrator),
    Deviation("D8", Newly.DENIED, ("windows-container-allowed-usernames/v1",), runs_as_a_user_of_another_domain),
    Deviation("D9", Newly.DENIED, ("container-no-vulnerable-images/v1",), has_a_healthy_or_excluded_image),
    Deviation("D13", Newly.ADMITTED, ("windows-container-resources/v1",), asks_for_its_limits_in_other_words),
    Deviation("D16", Newly.DENIED, ("image-integrity-notation-verification/v1",), has_an_image_without_report),
    Deviation("O1", Newly.DENIED, ("block-automount-token/v2",), has_not_been_created),
    Deviation("O2", Newly.DENIED, ("container-allowed-pull-policy/v2",), would_get_another_pull_policy),
    Deviation("N1", Newly.ADMITTED, ("pod-enforce-antiaffinity/v1",), spreads_its_pods),
)
