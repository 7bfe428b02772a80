"""Random reviews of every template: our Rego has to decide as the same rules in Python do.

    python -m tests.verdicts.generate --count 100000 --seed 7
    python -m tests.verdicts.generate --count 2000 --seed 7 selinux/v3

A review is an object as an audit has it, or a request; the same seed makes the same ones. A disagreement is a slip in
one of the two statements of a rule; each is printed as a line of JSON, exit 1 if there is any.
"""

import argparse
import itertools
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.verdicts import judge, rules
from tests.verdicts.cases import Case
from tests.verdicts.random_objects import ADDRESSES, LABELS, TAINTS, Objects, several
from tests.verdicts.random_pods import (
    APPARMOR_PROFILES,
    CAPABILITIES,
    FLEX_DRIVERS,
    NAMES,
    PATHS,
    PORTS,
    PROBES,
    SELINUX,
    SYSCTLS,
    USERS,
    WINDOWS_PATHS,
    Chance,
)

Json = dict[str, Any]
BATCH = 5000
USERNAMES = ("aksService", "system:node:node-1", "alice")
GROUPS = ("system:nodes", "ops", "system:authenticated")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What both statements of a rule say of a case."""

    case: Case
    rego: bool
    python: bool


def reviews(templates: Sequence[str], count: int, seed: int) -> Iterator[Case]:
    """`count` random cases, of each template in turn."""
    chance = Chance(random.Random(seed))
    makers = Makers(chance)
    for number in range(count):
        yield makers.case(templates[number % len(templates)])


def judged(cases: Iterable[Case]) -> Iterator[Outcome]:
    """What Rego and Python say of each case, as many at a time as fit into memory and a folder."""
    waiting = iter(cases)
    while batch := list(itertools.islice(waiting, BATCH)):
        for case, rego in zip(batch, judge.denied(batch), strict=True):
            yield Outcome(case, rego, rules.denied(case))


class Makers:
    """Makes a case of any template."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._objects = Objects(chance)

    def case(self, template: str) -> Case:
        """An object or request of the kind that the template is about, with parameters for it."""
        make = self._kind(template)
        manifest = make()
        inventory: Sequence[Json] = []
        if template in {"unique-service-selectors/v1", "ingress-hostnames-conflict"}:
            inventory = several(lambda: self._neighbour(manifest, make), self._chance)
        elif template.startswith("disallowed-bad-pod-disruption-budgets/"):
            inventory = several(self._objects.workload, self._chance)
        before = make if template.startswith("restricted-") else lambda: manifest
        if self._chance.odds(0.8 if template.startswith("restricted-") else 0.15):
            manifest = self._request(manifest, before)
        return Case(template, self._parameters(template), manifest, tuple(inventory))

    def _kind(self, template: str) -> Callable[[], Json]:
        made = self._objects
        kinds: Mapping[str, Callable[[], Json]] = {
            "allowed-external-ips": made.service,
            "block-admin-rolebindings": made.binding,
            "block-default-namespace": made.any_kind,
            "block-endpoint-edit-default-role": made.role,
            "block-naked-pods": made.with_metadata,
            "block-resource": made.any_kind,
            "block-wildcard-roles": made.role,
            "container-enforce-pre-stop-hook": made.pod_or_workload,
            "container-no-latest-image/v1": made.pod_or_workload,
            "container-no-vulnerable-images": made.scanned,
            "disallowed-bad-pod-disruption-budgets": made.budget,
            "enforce-csi-driver": made.storage_class,
            "enforce-required-annotation": made.with_metadata,
            "image-integrity-notation-verification": made.running,
            "ingress-hostnames-conflict": made.ingress,
            "ingress-https-only": made.ingress,
            "load-balancer-no-public-ips": made.service,
            "pod-enforce-antiaffinity": made.workload,
            "pod-enforce-labels": made.with_metadata,
            "print-mutations-annotations": made.mutated,
            "require-ingress-host": made.ingress,
            "restricted-labels": made.with_metadata,
            "restricted-node-edits": made.node,
            "restricted-taints": made.node,
            "service-allowed-ports": made.service,
            "unique-service-selectors": made.service,
        }
        return kinds.get(template) or kinds.get(template.partition("/")[0]) or made.pods.manifest

    def _neighbour(self, manifest: Json, make: Callable[[], Json]) -> Json:
        """An object beside the one under review: another, much the same one under another name, or it as it was."""
        other = self._chance.one((make(), make(), manifest))
        metadata = manifest["metadata"] | {"name": "other", "namespace": self._chance.one(("default", "prod"))}
        return self._chance.one((other, manifest | {"metadata": metadata}))

    def _request(self, manifest: Json, before: Callable[[], Json]) -> Json:
        chance = self._chance
        group, _, version = manifest["apiVersion"].rpartition("/")
        request: Json = {
            "uid": "a-request",
            "kind": {"group": group, "version": version, "kind": manifest["kind"]},
            "name": manifest["metadata"]["name"],
            "operation": "CREATE",
            "userInfo": {"username": chance.one(USERNAMES), "groups": chance.some(GROUPS, 2)},
            "object": manifest,
        }
        if namespace := manifest["metadata"].get("namespace"):
            request["namespace"] = namespace
        if chance.odds(0.6):
            old = before() if chance.odds(0.7) else manifest
            request |= {"operation": "UPDATE", "oldObject": old}
        return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}

    def _parameters(self, template: str) -> Json:
        """Parameters as definitions send them: each is there, nearly always."""
        name = template.partition("/")[0]
        own = PARAMETERS.get(template) or PARAMETERS.get(name) or {}
        # Before the store no template took exclusions.
        shared = [field for field, templates in EXCLUSIONS.items() if "/" in template and {name, template} & templates]
        made = {field: make(self._chance) for field, make in own.items()}
        made |= {field: EXCLUDED[field](self._chance) for field in shared}
        return {field: value for field, value in made.items() if value is not None and self._chance.odds(0.97)}


def paths(chance: Chance) -> list[Json]:
    """Allowed host paths of Linux."""
    return [{"pathPrefix": path, **read_only(chance)} for path in chance.some(PATHS)]


def windows_paths(chance: Chance) -> list[Json]:
    """Allowed host paths of Windows."""
    return [{"pathPrefix": path, **read_only(chance)} for path in chance.some(WINDOWS_PATHS)]


def read_only(chance: Chance) -> Json:
    """An entry's word on writing."""
    return chance.one(({}, {"readOnly": True}, {"readOnly": False}))


def identity(chance: Chance) -> Json | None:
    """A rule for ids with its ranges, half the time one that allows all."""
    bounds = ({"min": 1, "max": 100}, {"min": 100, "max": 200}, {"min": 1000, "max": -1}, {"min": 200, "max": 100})
    rule = chance.one(("MustRunAs", "MustRunAsNonRoot", "MayRunAs", "RunAsAny", "RunAsAny"))
    return chance.one((None, *[{"rule": rule, "ranges": chance.some(bounds, 2)}] * 4))


def selinux_options(chance: Chance) -> list[Json]:
    """Allowed SELinux options."""
    entry = {field: chance.one(texts) for field, texts in SELINUX.items() if chance.odds(0.6)}
    return [entry, {"type": "container_t"}][: chance.source.randint(0, 2)]


def annotations(chance: Chance) -> list[Json]:
    """Demanded annotations."""
    expressions: Sequence[Json] = (
        {},
        {"allowedRegex": ""},
        {"allowedRegex": "^team-[0-9]$"},
        {"allowedRegex": "[0-9]"},
        {"allowedRegex": "("},
    )
    return [{"key": key, **chance.one(expressions)} for key in chance.some(("team", "contact"), 2)]


def severities(chance: Chance) -> Json:
    """How many findings of each severity may remain."""
    return {name: chance.source.randint(0, 2) for name in ("High", "Medium", "Low") if chance.odds(0.95)}


Maker = Callable[[Chance], Any]


def some(*values: Any) -> Maker:
    """Up to three of the values."""
    return lambda chance: chance.some(values)


def one(*values: Any) -> Maker:
    """One of the values."""
    return lambda chance: chance.one(values)


EXCLUDED: Mapping[str, Maker] = {
    "excludedContainers": lambda chance: chance.some((*NAMES[:4], "prox*")) if chance.odds(0.5) else [],
    "excludedImages": lambda chance: (
        chance.some(("nginx", "nginx*", "registry.io/*", "*", "quay.io/org", "NGINX*", "registry.io:5000/x"))
        if chance.odds(0.5)
        else []
    ),
}
BY_BOTH = {
    "allowed-host-paths",
    "allowed-proc-mount-types",
    "allowed-seccomp-profiles",
    "allowed-users-groups",
    "container-allowed-capabilities",
    "container-disallowed-capabilities",
    "container-enforce-probes",
    "container-no-privilege",
    "container-no-privilege-escalation",
    "container-resource-limits",
    "enforce-apparmor-profile",
    "host-network-ports/v3",
    "read-only-root-filesystem",
}
EXCLUSIONS: Mapping[str, set[str]] = {
    "excludedContainers": BY_BOTH | {"container-allowed-images", "container-allowed-ports"},
    "excludedImages": BY_BOTH
    | {
        "allowed-volume-types",
        "block-automount-token",
        "block-host-namespace",
        "container-allowed-pull-policy",
        "container-resource-requests",
        "container-restricted-image-pulls",
        "host-network-ports/v4",
        "image-integrity-notation-verification",
        "selinux",
        "windows-block-container-admin",
        "windows-block-host-process",
        "windows-container-allowed-usernames",
        "windows-container-resources",
    },
}
USERS_AND_GROUPS: Mapping[str, Maker] = {"allowedUsers": some(*USERNAMES[:2]), "allowedGroups": some(*GROUPS[:2])}
PORT_RANGES = ("any", "0-79", "80", "3000-4000", "79-80", "4000-3000", "8080")
PARAMETERS: Mapping[str, Mapping[str, Maker]] = {
    "allowed-external-ips": {"allowedExternalIPs": some(*ADDRESSES)},
    "allowed-host-paths": {"allowedHostPaths": paths},
    "allowed-host-paths/v4": {"allowedHostPaths": paths, "windowsAllowedHostPaths": windows_paths},
    "allowed-proc-mount-types": {"procMount": one("Default", "Unmasked", "unmasked")},
    "allowed-seccomp-profiles": {
        "allowedProfiles": some(
            "runtime/default",
            "docker/default",
            "RuntimeDefault",
            "Localhost",
            "localhost/*",
            "localhost/a.json",
            "unconfined",
            "Unconfined",
            "*",
        )
    },
    "allowed-sysctl-interfaces": {"allowedSysctls": some(*SYSCTLS, "kernel.*", "net/*", "kernel.s", "*")},
    "allowed-users-groups": dict.fromkeys(("runAsUser", "runAsGroup", "supplementalGroups", "fsGroup"), identity),
    "allowed-volume-types": {"volumes": some("emptyDir", "secret", "projected", "hostPath", "flexVolume", "*")},
    "container-allowed-capabilities": {
        "allowedCapabilities": some(*CAPABILITIES, "*"),
        "requiredDropCapabilities": some(*CAPABILITIES),
    },
    "container-allowed-images": {
        "imageRegex": one("^registry\\.io/.+$", "nginx", "", "^nginx(:1.*)?$", "(", "^[^@]+$"),
    },
    "container-allowed-ports": {"allowedPorts": some(*map(str, PORTS), "3000-4000")},
    "container-allowed-pull-policy": {"allowedPullPolicy": some("Always", "IfNotPresent", "Never")},
    "container-disallowed-capabilities": {"disallowedCapabilities": some(*CAPABILITIES, "*")},
    "container-enforce-probes": {"enforceProbes": some(*PROBES)},
    "container-no-privilege-escalation/v4": {"forcePrivilegeEscalationToBeFalse": one(True, False)},
    "container-no-vulnerable-images": {
        "severity": severities,
        "severityThresholdForExcludingNotPatchableFindings": one("None", "Low", "Medium", "High"),
        "excludeFindingIDs": some("1", "2"),
        "excludedImages": some("^nginx", "registry\\.io", "("),
    },
    "container-resource-limits": {
        "cpuLimit": one("200m", "1", "1.5", "0", "bad"),
        "memoryLimit": one("1Gi", "1G", "512Mi", "0"),
    },
    "enforce-apparmor-profile": {"allowedProfiles": some(*APPARMOR_PROFILES, "localhost/*", "*")},
    "enforce-required-annotation": {"annotations": annotations},
    "flexvolume-drivers": {"allowedFlexVolumeDrivers": some(*FLEX_DRIVERS, "example/*")},
    "forbidden-sysctl-interfaces": {"forbiddenSysctls": some(*SYSCTLS, "kernel.*", "net/*", "kernel.s", "*")},
    "host-network-ports": {
        "allowHostNetwork": one(True, False),
        "minPort": one(0, 80, 3000),
        "maxPort": one(0, 80, 4000),
    },
    "host-network-ports/v4": {"allowHostNetwork": one(True, False), "allowedHostPorts": some(*PORT_RANGES, 81)},
    "pod-enforce-labels": {"labels": some(*LABELS)},
    "print-mutations-annotations": {"messages": one({}, {"first": "was changed by the first"})},
    "restricted-labels": {"labels": some(*LABELS), **USERS_AND_GROUPS},
    "restricted-node-edits": USERS_AND_GROUPS,
    "restricted-taints": {"reservedTaints": some(*TAINTS[:1], "^Critical$", "^CriticalAddonsOnly", "(")},
    "selinux": {"allowedSELinuxOptions": selinux_options},
    "selinux/v3": {
        "enforcePSS": one(True, False),
        "allowedSELinuxTypes": some("container_t", "container_init_t", "spc_t"),
        "allowedSELinuxOptions": selinux_options,
    },
    "service-allowed-ports": {"allowedPorts": some(*PORT_RANGES, "80-80-90", " 79-81")},
    "windows-container-allowed-usernames": {"allowedUserNames": some(*USERS, "CORP\\*", "*")},
}


def main() -> int:
    """Prints a line for each template, and each disagreement."""
    parser = argparse.ArgumentParser(prog="python -m tests.verdicts.generate", description=__doc__.splitlines()[0])
    parser.add_argument("templates", nargs="*", metavar="TEMPLATE", help="`selinux/v3`, … (default: all)")
    parser.add_argument("--count", type=int, default=3000, help="how many reviews, of all templates together")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same reviews")
    arguments = parser.parse_args()
    made = reviews(arguments.templates or sorted(rules.RULES), arguments.count, arguments.seed)
    counts, denials, slips = Counter[str](), Counter[str](), list[Outcome]()
    for outcome in judged(made):
        counts[outcome.case.template] += 1
        denials[outcome.case.template] += outcome.python
        if outcome.rego != outcome.python:
            slips.append(outcome)
    for template, count in sorted(counts.items()):
        found = sum(outcome.case.template == template for outcome in slips)
        print(f"{template}: {count} reviews, {denials[template]} denied, {found} disagreements")
    for outcome in slips:
        shown = {"template": outcome.case.template, "rego denies": outcome.rego, "python denies": outcome.python}
        case = outcome.case
        print(
            json.dumps({**shown, "parameters": case.parameters, "manifest": case.manifest, "inventory": case.inventory})
        )
    print(f"{counts.total()} reviews of {len(counts)} templates, seed {arguments.seed}: {denials.total()} denied")
    print(f"{len(slips)} disagreements")
    return 1 if slips else 0


if __name__ == "__main__":
    sys.exit(main())
