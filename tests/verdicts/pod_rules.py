"""What the templates about pods decide, stated once more in Python, with our deviations (templates/deviations.yaml).

Each statement follows the definition's text, the Pod Security Standards and what Azure has published; nothing here
reads our Rego. Objects are taken as the API server leaves them: with its defaults, without empty lists.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from tests.verdicts import objects
from tests.verdicts.cases import Case
from tests.verdicts.objects import EVERY, LASTING, judged, security
from tests.verdicts.quantities import value

Container = Mapping[str, Any]
Rule = Callable[[Case], bool]
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
SECCOMP = "seccomp.security.alpha.kubernetes.io/pod"
CONTAINER_SECCOMP = "container.seccomp.security.alpha.kubernetes.io/"
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
NANOSERVER = "mcr.microsoft.com/windows/nanoserver"


def on_linux(rule: Rule) -> Rule:
    """The rule, for pods that do not select Windows nodes."""
    return lambda case: not objects.selects_windows(case) and rule(case)


def demanding(rule: Rule) -> Rule:
    """The rule, for pods that are not for Windows in any way: Kubernetes lets those set no such field (D1)."""
    return lambda case: not is_windows(case) and rule(case)


def on_windows(rule: Rule) -> Rule:
    """The rule, for pods that are for Windows (D1)."""
    return lambda case: is_windows(case) and rule(case)


def is_windows(case: Case) -> bool:
    """Whether the pod selects Windows nodes or says in spec.os.name that it is for Windows."""
    return objects.selects_windows(case) or objects.names_windows(case)


def pod_judged(case: Case) -> bool:
    """Whether some container has no excluded image, so that what belongs to the pod as a whole counts."""
    return any(not objects.has_excluded_image(each, case) for each in objects.containers(case))


def setting(container: Container, field: str, case: Case) -> Any:
    """A field of the container's securityContext, else of the pod's; None where neither has it."""
    own = security(container).get(field)
    return security(case.spec).get(field) if own is None else own


# Host paths and volumes


def mounts(containers: Sequence[Container]) -> Iterator[tuple[str, bool]]:
    """The volumes that containers use, each with whether it may be written to; devices count as written (D3)."""
    for container in containers:
        for mount in container.get("volumeMounts", []):
            yield mount["name"], mount.get("readOnly") is not True
        for device in container.get("volumeDevices", []):
            yield device["name"], True


def allowed_host_paths(case: Case) -> bool:
    """Version 3: every mounted host path is in an allowed one, and read only where one that fits says so."""
    return not objects.selects_windows(case) and bad_host_path(case, judged(case), judged(case), posix_parts)


def allowed_host_paths_of_both(case: Case) -> bool:
    """Version 4: Windows pods have a list of their own, excludedContainers frees from the read-only rule alone."""
    mounting = [each for each in objects.containers(case) if not objects.has_excluded_image(each, case)]
    if objects.selects_windows(case):
        return bad_host_path(case, mounting, judged(case), windows_parts, "windowsAllowedHostPaths")
    return bad_host_path(case, mounting, judged(case), posix_parts)


def bad_host_path(
    case: Case,
    mounting: Sequence[Container],
    writing: Sequence[Container],
    parts: Callable[[str], list[str]],
    parameter: str = "allowedHostPaths",
) -> bool:
    """Whether `mounting` use a path that is not allowed, or `writing` write to one that is read-only."""
    used = {name for name, _ in mounts(mounting)}
    written = {name for name, writes in mounts(writing) if writes}
    for volume in case.spec.get("volumes", []):
        if "hostPath" not in volume or volume["name"] not in used:
            continue
        path = parts(volume["hostPath"]["path"])
        fitting = [
            entry
            for entry in case.parameters.get(parameter, [])
            if (prefix := entry.get("pathPrefix", "")) and is_in(path, parts(prefix))
        ]
        reading = any(entry.get("readOnly") is True for entry in fitting)
        if not fitting or (reading and volume["name"] in written):
            return True
    return False


def is_in(path: Sequence[str], prefix: Sequence[str]) -> bool:
    """Whether the parts of a path begin with those of the prefix; one that goes up is in none but the root."""
    return not prefix or (path[: len(prefix)] == prefix and ".." not in path)


def posix_parts(path: str) -> list[str]:
    """What is between the slashes; none for the root."""
    return path.strip("/").split("/") if path.strip("/") else []


def windows_parts(path: str) -> list[str]:
    r"""Windows knows a path in any letter case and with either slash, and none of its parts is `.` or empty.

    The kubelet takes a path without drive as one of C:, and C:\ in a list stands for every path.
    """
    parts = [part for part in path.lower().replace("\\", "/").split("/") if part not in {"", "."}]
    if not re.match("[a-z]:", path.lower()):
        parts = ["c:", *parts]
    return [] if parts == ["c:"] else parts


def allowed_volume_types(case: Case) -> bool:
    """Mounted volumes have only types of the list; without a list all do."""
    if "volumes" not in case.parameters or "*" in case.parameters["volumes"]:
        return False
    mounting = [each for each in objects.containers(case) if not objects.has_excluded_image(each, case)]
    mounted = {mount["name"] for each in mounting for mount in each.get("volumeMounts", [])}
    types = {
        field
        for volume in case.spec.get("volumes", [])
        if volume["name"] in mounted
        for field in volume.keys() - {"name"}
    }
    return bool(types - set(case.parameters["volumes"]))


def flexvolume_drivers(case: Case) -> bool:
    """Every flexVolume has a driver of the list; without a list all may be."""
    allowed = case.parameters.get("allowedFlexVolumeDrivers")
    drivers = [each["flexVolume"].get("driver") for each in case.spec.get("volumes", []) if "flexVolume" in each]
    return allowed is not None and any(driver not in allowed for driver in drivers)


def block_automount_token(case: Case) -> bool:
    """A pod that asks for the token, or says nothing and has it mounted or will have (O1)."""
    asked = case.spec.get("automountServiceAccountToken")
    has_it = "uid" not in case.object["metadata"] or any(
        mount["mountPath"] == TOKEN for each in objects.containers(case) for mount in each.get("volumeMounts", [])
    )
    return pod_judged(case) and (asked is True or (asked is None and has_it))


# The pod and the host


def block_host_namespace(*fields: str) -> Rule:
    """None of the fields is true."""
    return on_linux(lambda case: pod_judged(case) and any(case.spec.get(field) for field in fields))


def host_network_ports(case: Case) -> bool:
    """Version 3: hostNetwork needs leave, and a host port lies between those bounds that are there."""
    if case.spec.get("hostNetwork") and case.parameters.get("allowHostNetwork") is not True and judged(case):
        return True
    least, most = case.parameters.get("minPort"), case.parameters.get("maxPort")
    return any(
        (least is not None and port < least) or (most is not None and port > most) for port in host_ports(judged(case))
    )


def approved_host_ports(case: Case) -> bool:
    """Version 4: a host port is in the list, as itself or in a range."""
    if case.spec.get("hostNetwork") and case.parameters.get("allowHostNetwork") is not True and judged(case):
        return True
    return any(not in_ports(port, case.parameters.get("allowedHostPorts", [])) for port in host_ports(judged(case)))


def host_ports(containers: Sequence[Container]) -> list[int]:
    """The host ports of the containers."""
    return [port["hostPort"] for each in containers for port in each.get("ports", []) if "hostPort" in port]


def in_ports(port: int, allowed: Sequence[str | int]) -> bool:
    """Whether the port is listed, as `80`, or in a range `80-90`, both ends included."""
    for entry in allowed:
        first, _, last = str(entry).partition("-")
        if first.isdigit() and (last or first).isdigit() and int(first) <= port <= int(last or first):
            return True
    return False


def container_allowed_ports(case: Case) -> bool:
    """Every port of a container is in the list, as text."""
    allowed = case.parameters.get("allowedPorts", [])
    ports = [port["containerPort"] for each in judged(case, LASTING) for port in each.get("ports", [])]
    return any(str(port) not in allowed for port in ports)


def forbidden_sysctls(case: Case) -> bool:
    """No sysctl begins with an entry, whatever its spelling (D7)."""
    prefixes = tuple(dotted(entry.strip("*")) for entry in case.parameters.get("forbiddenSysctls", []))
    return any(name.startswith(prefixes) for name in sysctls(case))


def allowed_sysctls(case: Case) -> bool:
    """Every sysctl is an entry, or begins with one that ends in `*`."""
    entries = [dotted(entry) for entry in case.parameters.get("allowedSysctls", [])]
    return not all(
        any(name.startswith(entry[:-1]) if entry.endswith("*") else name == entry for entry in entries)
        for name in sysctls(case)
    )


def sysctls(case: Case) -> list[str]:
    """The names of the pod's sysctls, with dots."""
    return [dotted(each["name"]) for each in security(case.spec).get("sysctls") or []]


def dotted(name: str) -> str:
    """A sysctl in the spelling with dots: where the first separator is a slash, dots and slashes change places.

    https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/
    """
    separator = re.search("[./]", name)
    return name.translate(str.maketrans("./", "/.")) if separator and separator[0] == "/" else name


# The security context of containers


def allowed_proc_mount_types(case: Case) -> bool:
    """procMount is Default, or the parameter is Unmasked."""
    types = [security(each).get("procMount", "Default") for each in judged(case)]
    return case.parameters.get("procMount", "").lower() != "unmasked" and any(
        each.lower() != "default" for each in types
    )


def allowed_seccomp_profiles(case: Case) -> bool:
    """Every container has a profile of the list, which may use the names of fields or of annotations."""
    entries = case.parameters.get("allowedProfiles", [])
    return "*" not in entries and any(not seccomp_allowed(each, case, entries) for each in judged(case))


def seccomp_allowed(container: Container, case: Case, entries: Sequence[str]) -> bool:
    """Fields come before annotations, the container's before the pod's; no profile is none of the list."""
    field = security(container).get("seccompProfile") or security(case.spec).get("seccompProfile")
    spellings = {
        "RuntimeDefault": {"RuntimeDefault", "runtime/default", "docker/default"},
        "Unconfined": {"Unconfined", "unconfined"},
    }
    if field and field["type"] == "Localhost":
        return "localhost/*" in entries or f"localhost/{field['localhostProfile']}" in entries
    if field:
        return bool(spellings[field["type"]] & set(entries))
    annotations = objects.annotations(case)
    profile = annotations.get(CONTAINER_SECCOMP + container["name"], annotations.get(SECCOMP))
    if profile is None:
        return False
    if profile.startswith("localhost/"):
        return "localhost/*" in entries or profile in entries
    # RuntimeDefault stands for both of the older names; each of these stands for RuntimeDefault, not for the other.
    wider = {
        "runtime/default": {"RuntimeDefault"},
        "docker/default": {"RuntimeDefault"},
        "RuntimeDefault": spellings["RuntimeDefault"],
        "unconfined": spellings["Unconfined"],
        "Unconfined": spellings["Unconfined"],
    }
    return bool(({profile} | wider.get(profile, set())) & set(entries))


def allowed_users_groups(case: Case) -> bool:
    """Each of four fields follows its rule, in every container."""
    return any(
        bad_identity(each, field, case)
        for each in judged(case)
        for field in ("runAsUser", "runAsGroup", "supplementalGroups", "fsGroup")
    )


def bad_identity(container: Container, field: str, case: Case) -> bool:
    """Whether what the container has, or lacks, in the field breaks the field's rule."""
    demand = case.parameters.get(field, {})
    rule = demand.get("rule")
    if rule in {None, "RunAsAny"}:
        return False
    found = setting(container, field, case)
    if rule == "MustRunAsNonRoot" and field == "runAsUser":
        return setting(container, "runAsNonRoot", case) is not True if found is None else bool(found == 0)
    if found is None:
        return bool(rule == "MustRunAs") and not objects.names_windows(case)
    takes_ranges = rule == "MustRunAs" or (rule == "MayRunAs" and field != "runAsUser")
    ids = found if isinstance(found, list) else [found]
    return not (takes_ranges and all(in_ranges(each, demand.get("ranges", [])) for each in ids))


def in_ranges(number: int, ranges: Sequence[Mapping[str, int]]) -> bool:
    """Whether the number is in a range; one whose max is -1 has no end."""
    return any(
        {"min", "max"} <= each.keys() and each["min"] <= number and (each["max"] == -1 or number <= each["max"])
        for each in ranges
    )


def container_allowed_capabilities(case: Case) -> bool:
    """Only capabilities of the list are added, and all required ones are dropped, in any letter case."""
    allowed = lowered(case.parameters.get("allowedCapabilities", []))
    required = lowered(case.parameters.get("requiredDropCapabilities", []))
    for container in judged(case):
        added, dropped = (lowered(each) for each in capabilities(container))
        if (added - allowed and "*" not in allowed) or (required - dropped and "all" not in dropped):
            return True
    return False


def container_disallowed_capabilities(case: Case) -> bool:
    """No container adds a capability of the list, in any spelling; ALL is each of them (D5)."""
    listed = {spelled(each) for each in case.parameters.get("disallowedCapabilities", [])}
    for container in judged(case):
        added = {spelled(each) for each in capabilities(container)[0]}
        everything = {"ALL", "*"}
        if added and (added & listed or everything & listed or (listed and everything & added)):
            return True
    return False


def capabilities(container: Container) -> tuple[list[str], list[str]]:
    """What the container adds and what it drops."""
    found = security(container).get("capabilities") or {}
    return found.get("add", []), found.get("drop", [])


def lowered(names: Sequence[str]) -> set[str]:
    """The names in lower case."""
    return {name.lower() for name in names}


def spelled(name: str) -> str:
    """A capability as the kernel's headers have it, without CAP_."""
    return name.upper().removeprefix("CAP_")


def container_no_privilege(case: Case) -> bool:
    """No container is privileged."""
    return any(security(each).get("privileged") for each in judged(case))


def container_no_privilege_escalation(case: Case) -> bool:
    """No container may gain privileges, or has a user id that is not 0 and says nothing."""
    return any(may_escalate(each, case) for each in judged(case))


def container_no_privilege_escalation_forced(case: Case) -> bool:
    """As before; where it is forced, allowPrivilegeEscalation is false, but for pods that may not set it (D1)."""
    if case.parameters.get("forcePrivilegeEscalationToBeFalse") is True and not objects.names_windows(case):
        return any(security(each).get("allowPrivilegeEscalation") is not False for each in judged(case))
    return container_no_privilege_escalation(case)


def may_escalate(container: Container, case: Case) -> bool:
    """Whether a container may gain privileges that its user has not."""
    allowed = security(container).get("allowPrivilegeEscalation")
    return bool(setting(container, "runAsUser", case)) if allowed is None else bool(allowed)


def enforce_apparmor_profile(case: Case) -> bool:
    """The annotation, else the field of the container, else the pod's, else runtime/default is in the list (D6)."""
    allowed = case.parameters.get("allowedProfiles")
    return allowed is not None and any(
        profile not in allowed and not ("localhost/*" in allowed and profile.startswith("localhost/"))
        for profile in (apparmor(each, case) for each in judged(case))
    )


def apparmor(container: Container, case: Case) -> str:
    """The AppArmor profile of a container as an annotation writes it."""
    annotation = objects.annotations(case).get(APPARMOR + container["name"])
    field = security(container).get("appArmorProfile") or security(case.spec).get("appArmorProfile")
    if annotation is not None or not field:
        return annotation if annotation is not None else "runtime/default"
    written = {"RuntimeDefault": "runtime/default", "Unconfined": "unconfined"}
    return written.get(field["type"]) or f"localhost/{field['localhostProfile']}"


def read_only_root_filesystem(case: Case) -> bool:
    """Every container's root file system is read-only."""
    return any(security(each).get("readOnlyRootFilesystem") is not True for each in judged(case))


def selinux(case: Case) -> bool:
    """Version 2: what pod and containers set is in one entry; without a list all is."""
    entries = case.parameters.get("allowedSELinuxOptions")
    return entries is not None and any(
        not any(all(entry.get(field) == text for field, text in options.items()) for entry in entries)
        for options in selinux_options(case)
    )


def selinux_or_standards(case: Case) -> bool:
    """Version 3: where enforcePSS is true, no user, no role and only a type of the list is set; else version 2."""
    if case.parameters.get("enforcePSS") is not True:
        return selinux(case)
    types = case.parameters.get("allowedSELinuxTypes", [])
    return any(
        bool(options.get("user") or options.get("role")) or bool(options.get("type") and options["type"] not in types)
        for options in selinux_options(case)
    )


def selinux_options(case: Case) -> list[Mapping[str, str]]:
    """The options of the pod, whatever is excluded, and of its containers."""
    owners = [case.spec, *(each for each in objects.containers(case) if not objects.has_excluded_image(each, case))]
    return [security(each)["seLinuxOptions"] for each in owners if security(each).get("seLinuxOptions") is not None]


# Images, probes, resources


def container_allowed_images(case: Case) -> bool:
    """Every image matches the expression."""
    expression = case.parameters.get("imageRegex")
    images = [each["image"] for each in named_out(case) if "image" in each]
    return expression is not None and any(not matches(expression, image) for image in images)


def named_out(case: Case) -> list[Container]:
    """The containers that excludedContainers does not name."""
    return [each for each in objects.containers(case) if not objects.is_named(each, case)]


def matches(expression: str, text: str) -> bool:
    """Whether the expression matches anywhere; one that is none matches nothing."""
    try:
        return re.search(expression, text) is not None
    except re.error:
        return False


def container_allowed_pull_policy(case: Case) -> bool:
    """Every pull policy, be it the default (O2), is in the list; without a list all are."""
    allowed = case.parameters.get("allowedPullPolicy")
    policies = [
        each.get("imagePullPolicy") or default_pull_policy(each.get("image", ""))
        for each in objects.containers(case)
        if not objects.has_excluded_image(each, case)
    ]
    return allowed is not None and any(policy not in allowed for policy in policies)


def default_pull_policy(image: str) -> str:
    """What the API server sets: https://kubernetes.io/docs/concepts/containers/images/#imagepullpolicy-defaulting."""
    name, at, _ = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return "Always" if tag == "latest" or not (tag or at) else "IfNotPresent"


def container_restricted_image_pulls(case: Case) -> bool:
    """The pod has pull secrets."""
    return pod_judged(case) and not case.spec.get("imagePullSecrets")


def no_latest_image_of_workload(case: Case) -> bool:
    """Version 1: no image of a workload's template is without colon, or has one before the word latest (or lates)."""
    template = case.spec.get("template", {}).get("spec", {})
    images = [each.get("image", "") for field in EVERY for each in template.get(field) or []]
    return any(":" not in image or re.search(r":latest?\b", image) for image in images)


def no_latest_image_of_pod(case: Case) -> bool:
    """Version 2: no image is without colon, or has the tag latest and no digest."""
    images = [each.get("image", "") for each in objects.containers(case)]
    return any(":" not in image or image.endswith(":latest") for image in images)


def container_enforce_pre_stop_hook(case: Case) -> bool:
    """Every container and init container, of a pod or of a workload's template, has a preStop hook."""
    specs = [case.spec, case.spec.get("template", {}).get("spec", {})]
    containers = [each for spec in specs for field in LASTING for each in spec.get(field) or []]
    return any("preStop" not in each.get("lifecycle", {}) for each in containers)


def container_enforce_probes(case: Case) -> bool:
    """Every container, but no init container, has each probe, and it is none of gRPC."""
    return any(
        not {"tcpSocket", "httpGet", "exec"} & (each.get(probe) or {}).keys()
        for each in judged(case, ("containers",))
        for probe in case.parameters.get("enforceProbes", [])
    )


CPU = re.compile(r"[0-9]+m|[0-9]+(?:\.[0-9]+)?m?")
MEMORY = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[mkMGTPE]|[KMGTPE]i)?")


def container_resource_limits(case: Case) -> bool:
    """Every container has both limits, readable and not above the maximum."""
    return any(
        above(each, "cpu", CPU, case.parameters.get("cpuLimit"))
        or above(each, "memory", MEMORY, case.parameters.get("memoryLimit"))
        for each in judged(case, LASTING)
    )


def above(container: Container, name: str, readable: re.Pattern[str], most: str | None) -> bool:
    """Whether a container's limit is missing, unreadable (1e9, 5n) or more than `most`, if that is readable."""
    limit = ((container.get("resources") or {}).get("limits") or {}).get(name)
    if not limit or not readable.fullmatch(str(limit)):
        return True
    return most is not None and bool(readable.fullmatch(most)) and value(limit) > value(most)


def container_resource_requests(case: Case) -> bool:
    """Every container and init container requests CPU and memory."""
    return any(
        not {"cpu", "memory"} <= ((each.get("resources") or {}).get("requests") or {}).keys()
        for each in judged(case, LASTING)
    )


# Windows


def windows_block_container_admin(case: Case) -> bool:
    """No container runs as ContainerAdministrator, which is the default of most images (D8)."""
    return any(
        user.lower().removeprefix("user manager\\") == "containeradministrator"
        if (user := windows_user(each, case)) is not None
        else setting(each, "runAsNonRoot", case) is not True and NANOSERVER not in each.get("image", "")
        for each in judged(case, LASTING)
    )


def windows_container_allowed_usernames(case: Case) -> bool:
    """Every container's user is in the list, by name or as one of a domain (D8); without a list all are."""
    allowed = case.parameters.get("allowedUserNames")
    if allowed is None:
        return False
    domains = [entry.removesuffix("\\*") for entry in allowed if entry.endswith("\\*")]
    for container in judged(case, LASTING):
        default = "ContainerUser" if NANOSERVER in container.get("image", "") else "ContainerAdministrator"
        user = windows_user(container, case) or default
        domain, backslash, _ = user.partition("\\")
        if user not in allowed and not (backslash and domain in domains):
            return True
    return False


def windows_user(container: Container, case: Case) -> str | None:
    """The container's runAsUserName, else the pod's."""
    user: str | None = windows_option(container, "runAsUserName", case)
    return user


def windows_option(container: Container, field: str, case: Case) -> Any:
    """A field of the container's windowsOptions, else of the pod's."""
    own, pods = ((security(each).get("windowsOptions") or {}).get(field) for each in (container, case.spec))
    return pods if own is None else own


def windows_container_resources(case: Case) -> bool:
    """Every container has both limits, and requests nothing less or more (D13)."""
    return any(not fixed(each.get("resources") or {}) for each in judged(case, LASTING))


def fixed(resources: Mapping[str, Any]) -> bool:
    """Whether requests are as much as limits, and both limits are set."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    return all(
        name in limits and Fraction(value(requests.get(name, limits[name]))) == value(limits[name])
        for name in ("cpu", "memory")
    )


def windows_block_host_process(case: Case) -> bool:
    """No container is a process of the host, which only Windows knows."""
    return any(windows_option(each, "hostProcess", case) is True for each in judged(case))


# Before the store (2020, 2021): containers and init containers, nothing is excluded, Windows is like any other


def lasting(case: Case) -> list[Container]:
    """The containers that the oldest templates look at."""
    return objects.containers(case, LASTING)


def every(fault: Callable[[Container], bool]) -> Rule:
    """A rule that none of them may break."""
    return lambda case: any(map(fault, lasting(case)))


def oldest_host_paths(case: Case) -> bool:
    """Every host path, mounted or not, has an entry that fits; one for reading does while nothing writes to it."""
    written = {
        mount["name"]
        for each in lasting(case)
        for mount in each.get("volumeMounts", [])
        if mount.get("readOnly") is not True
    }
    return any(
        not any(
            entry["pathPrefix"] != ""
            and prefix_of(posix_parts(entry["pathPrefix"]), posix_parts(volume["hostPath"]["path"]))
            and not (entry.get("readOnly") is True and volume["name"] in written)
            for entry in case.parameters.get("allowedHostPaths", [])
        )
        for volume in case.spec.get("volumes", [])
        if "hostPath" in volume
    )


def prefix_of(prefix: Sequence[str], path: Sequence[str]) -> bool:
    """Whether a path begins with the parts of another."""
    return path[: len(prefix)] == prefix


def oldest_proc_mount_types(case: Case) -> bool:
    """procMount is Default, or the parameter is Unmasked."""
    return case.parameters.get("procMount", "").lower() != "unmasked" and any(
        security(each).get("procMount", "Default").lower() != "default" for each in lasting(case)
    )


def oldest_volume_types(case: Case) -> bool:
    """Volumes have only types of the list; without a list they may have any."""
    allowed = case.parameters.get("volumes")
    types = {field for volume in case.spec.get("volumes", []) for field in volume.keys() - {"name"}}
    return allowed is not None and "*" not in allowed and bool(types - set(allowed))


def oldest_capabilities(case: Case) -> bool:
    """Only capabilities of the list are added, and each required one is dropped, letter by letter."""
    allowed = set(case.parameters.get("allowedCapabilities", []))
    required = set(case.parameters.get("requiredDropCapabilities", []))
    for container in lasting(case):
        added, dropped = map(set, capabilities(container))
        if ("*" not in allowed and added - allowed) or required - dropped:
            return True
    return False


def oldest_users_groups(case: Case) -> bool:
    """As later, but that every rule asks for a user, and runAsNonRoot is none."""
    for container in lasting(case):
        for field in ("runAsUser", "runAsGroup", "supplementalGroups", "fsGroup"):
            rule = case.parameters.get(field, {}).get("rule")
            found = setting(container, field, case)
            if rule in {None, "RunAsAny"}:
                continue
            if found is None and (field == "runAsUser" or rule == "MustRunAs"):
                return True
            if found is not None and bad_identity(container, field, case):
                return True
    return False


def oldest_disallowed_capabilities(case: Case) -> bool:
    """No capability of the list is added, letter by letter; the star forbids each container."""
    listed = set(case.parameters.get("disallowedCapabilities", []))
    return any("*" in listed or listed & set(capabilities(each)[0]) for each in lasting(case))


def oldest_images(case: Case) -> bool:
    """Every image matches the expression."""
    expression = case.parameters.get("imageRegex")
    images = [each["image"] for each in lasting(case) if "image" in each]
    return expression is not None and any(not matches(expression, image) for image in images)


def oldest_apparmor(case: Case) -> bool:
    """Every container has an annotation with a profile of the list; without a list any will do, and none."""
    allowed = case.parameters.get("allowedProfiles")
    return allowed is not None and any(
        objects.annotations(case).get(APPARMOR + each["name"]) not in allowed for each in lasting(case)
    )


def oldest_host_ports(case: Case) -> bool:
    """The host's network needs leave, and a host port lies between those bounds that are there."""
    network = case.spec.get("hostNetwork") and case.parameters.get("allowHostNetwork") is not True
    least, most = case.parameters.get("minPort"), case.parameters.get("maxPort")
    beside = any(
        (least is not None and port < least) or (most is not None and port > most) for port in host_ports(lasting(case))
    )
    return bool(network and lasting(case)) or beside


def oldest_selinux(case: Case) -> bool:
    """What the pod and its containers set is in one entry; without a list all is."""
    entries = case.parameters.get("allowedSELinuxOptions")
    found = [security(owner).get("seLinuxOptions") for owner in (case.spec, *lasting(case))]
    return entries is not None and any(
        options is not None and not any(options.items() <= entry.items() for entry in entries) for options in found
    )


RULES: Mapping[str, Rule] = {
    "allowed-host-paths": oldest_host_paths,
    "allowed-proc-mount-types": oldest_proc_mount_types,
    "allowed-users-groups": oldest_users_groups,
    "allowed-volume-types": oldest_volume_types,
    "block-automount-token": lambda case: case.spec.get("automountServiceAccountToken") is not False,
    "block-host-namespace": lambda case: bool(case.spec.get("hostPID") or case.spec.get("hostIPC")),
    "container-allowed-capabilities": oldest_capabilities,
    "container-allowed-images": oldest_images,
    "container-disallowed-capabilities": oldest_disallowed_capabilities,
    "container-no-privilege": every(lambda each: bool(security(each).get("privileged"))),
    "container-no-privilege-escalation": every(
        lambda each: security(each).get("allowPrivilegeEscalation") is not False
    ),
    "enforce-apparmor-profile": oldest_apparmor,
    "flexvolume-drivers": flexvolume_drivers,
    "forbidden-sysctl-interfaces": forbidden_sysctls,
    "host-network-ports": oldest_host_ports,
    "read-only-root-filesystem": every(lambda each: security(each).get("readOnlyRootFilesystem") is not True),
    "selinux": oldest_selinux,
    "allowed-host-paths/v3": allowed_host_paths,
    "allowed-host-paths/v4": allowed_host_paths_of_both,
    "allowed-proc-mount-types/v4": on_linux(allowed_proc_mount_types),
    "allowed-seccomp-profiles/v3": demanding(allowed_seccomp_profiles),
    "allowed-sysctl-interfaces/v1": on_linux(allowed_sysctls),
    "allowed-users-groups/v3": on_linux(allowed_users_groups),
    "allowed-volume-types/v2": allowed_volume_types,
    "block-automount-token/v2": block_automount_token,
    "block-host-namespace/v2": block_host_namespace("hostPID", "hostIPC"),
    "block-host-namespace/v3": block_host_namespace("hostPID", "hostIPC", "hostNetwork"),
    "container-allowed-capabilities/v3": demanding(container_allowed_capabilities),
    "container-allowed-images/v2": container_allowed_images,
    "container-allowed-ports/v1": container_allowed_ports,
    "container-allowed-pull-policy/v2": container_allowed_pull_policy,
    "container-disallowed-capabilities/v3": on_linux(container_disallowed_capabilities),
    "container-enforce-pre-stop-hook/v1": container_enforce_pre_stop_hook,
    "container-enforce-probes/v2": container_enforce_probes,
    "container-no-latest-image/v1": no_latest_image_of_workload,
    "container-no-latest-image/v2": no_latest_image_of_pod,
    "container-no-privilege-escalation/v3": on_linux(container_no_privilege_escalation),
    "container-no-privilege-escalation/v4": on_linux(container_no_privilege_escalation_forced),
    "container-no-privilege/v2": on_linux(container_no_privilege),
    "container-resource-limits/v3": container_resource_limits,
    "container-resource-requests/v1": container_resource_requests,
    "container-restricted-image-pulls/v1": container_restricted_image_pulls,
    "enforce-apparmor-profile/v3": on_linux(enforce_apparmor_profile),
    "flexvolume-drivers/v1": flexvolume_drivers,
    "forbidden-sysctl-interfaces/v1": on_linux(forbidden_sysctls),
    "host-network-ports/v3": on_linux(host_network_ports),
    "host-network-ports/v4": on_linux(approved_host_ports),
    "read-only-root-filesystem/v3": demanding(read_only_root_filesystem),
    "selinux/v2": on_linux(selinux),
    "selinux/v3": on_linux(selinux_or_standards),
    "windows-block-container-admin/v1": on_windows(windows_block_container_admin),
    "windows-block-host-process/v1": windows_block_host_process,
    "windows-container-allowed-usernames/v1": on_windows(windows_container_allowed_usernames),
    "windows-container-resources/v1": on_windows(windows_container_resources),
}
