"""Random pods as the API server leaves them: valid, with its defaults, with the values at which rules turn.

What is valid and what is set: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.verdicts.objects import EVERY
from tests.verdicts.pod_rules import APPARMOR, CONTAINER_SECCOMP, NANOSERVER, SECCOMP, TOKEN, default_pull_policy

T = TypeVar("T")
Json = dict[str, Any]
DIGEST = "@sha256:" + 64 * "c"
NAMES = ("app", "web", "proxy", "proxy-2", "log-agent", "init-db", "debugger")
IMAGES = (
    "nginx",
    "nginx:latest",
    "nginx:1.25",
    "registry.io:5000/x",
    "registry.io:5000/x:latest",
    f"registry.io/app{DIGEST}",
    f"registry.io/app:latest{DIGEST}",
    "registry.io/app:latest-alpine",
    "registry.io/app:lates",
    "registry.io/latest/app:2",
    f"{NANOSERVER}:1809",
    "registry.io/unsigned/app:1",
    "registry.io/signed/app:1",
)
PATHS = ("/", "/foo", "/foo/", "/foo/bar", "/foo//bar", "/foo/./bar", "/foobar", "/Foo", "/etc/ssl")
WINDOWS_PATHS = ("C:\\", "C:\\foo", "c:\\Foo\\bar", "C:/foo/bar", "C:\\foobar", "C:\\foo\\..\\etc")
PORTS = (1, 79, 80, 81, 3000, 3999, 4000, 8080)
SYSCTLS = (
    "kernel.sem",
    "kernel.shmmax",
    "kernel/sem",
    "kernelx.y",
    "net.ipv4.tcp_rmem",
    "net/ipv4/tcp_rmem",
    "net.ipv4.conf.eth0/100.rp_filter",
    "net/ipv4/conf/eth0.100/rp_filter",
)
CAPABILITIES = ("SYS_ADMIN", "sys_admin", "CAP_SYS_ADMIN", "CHOWN", "KILL", "NET_RAW", "ALL", "all")
CPUS = ("100m", "200m", "250m", "1", "1500m", "2", "200e-3", "1e0")
MEMORIES = ("128Mi", "512Mi", "1Gi", "1G", "1e9", "1500M", "2Gi", "64k")
IDS = (0, 1, 99, 100, 150, 200, 1000, 65535, 65536)
USERS = (
    "ContainerAdministrator",
    "containeradministrator",
    "User Manager\\ContainerAdministrator",
    "ContainerUser",
    "containeruser",
    "CORP\\bob",
    "CORPX\\bob",
    "corp\\bob",
)
SECCOMP_PROFILES = ("runtime/default", "docker/default", "unconfined", "localhost/a.json", "localhost/b.json")
APPARMOR_PROFILES = ("runtime/default", "unconfined", "localhost/web", "localhost/db")
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
HANDLERS = (
    {"httpGet": {"port": 80}},
    {"tcpSocket": {"port": 80}},
    {"exec": {"command": ["true"]}},
    {"grpc": {"port": 1}},
)
SELINUX = {"type": ("container_t", "spc_t"), "user": ("user_u",), "role": ("object_r",), "level": ("s0", "s0:c1")}
FLEX_DRIVERS = ("example/lvm", "example/cifs", "example/lv")


@dataclass(frozen=True, slots=True)
class Chance:
    """Choices of one seeded source."""

    source: random.Random

    def one(self, values: Sequence[T]) -> T:
        """One of the values."""
        return self.source.choice(values)

    def some(self, values: Sequence[T], most: int = 3) -> list[T]:
        """Up to `most` different values, perhaps none."""
        return self.source.sample(values, self.source.randint(0, min(most, len(values))))

    def odds(self, probability: float) -> bool:
        """True so often."""
        return self.source.random() < probability


class Pods:
    """Makes pods, all of whose features are there now and then."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance

    def manifest(self) -> Json:
        """A pod that exists: it has a name, a namespace and a uid."""
        metadata: Json = {"name": self._chance.one(("pod-a", "pod-b")), "namespace": "prod", "uid": "a-uid"}
        spec = self.spec()
        metadata["annotations"] = self._annotations(spec)
        return {"apiVersion": "v1", "kind": "Pod", "metadata": _without_empty(metadata), "spec": spec}

    def spec(self) -> Json:
        """The spec of a pod; settings of Linux are in none whose spec.os.name is windows."""
        chance = self._chance
        on_windows = chance.odds(0.12)
        volumes = self._volumes()
        token = chance.odds(0.5)
        spec: Json = {
            "os": {"name": "windows"} if on_windows else {"name": "linux"} if chance.odds(0.05) else {},
            "nodeSelector": self._node_selector(),
            "automountServiceAccountToken": chance.one((None, None, None, True, False)),
            "hostNetwork": chance.odds(0.25) or None,
            "imagePullSecrets": [{"name": "pull"}] if chance.odds(0.5) else [],
            "volumes": volumes + ([{"name": "token", "projected": {"sources": []}}] if token else []),
            "securityContext": self._pod_security(on_windows=on_windows),
        }
        if not on_windows:
            spec |= {field: chance.odds(0.2) or None for field in ("hostPID", "hostIPC")}
        names = iter(chance.source.sample(NAMES, len(NAMES)))
        counts = dict(zip(EVERY, chance.one(((1, 0, 0), (1, 0, 0), (1, 1, 0), (1, 0, 1), (2, 2, 1))), strict=True))
        for field in EVERY:
            spec[field] = [
                self._container(field, next(names), spec, on_windows=on_windows) for _ in range(counts[field])
            ]
        return {name: value for name, value in spec.items() if value is not None and value not in ({}, [])}

    def _container(self, field: str, name: str, spec: Json, *, on_windows: bool) -> Json:
        chance = self._chance
        image = chance.one(IMAGES)
        container: Json = {
            "name": name,
            "image": image,
            "imagePullPolicy": default_pull_policy(image) if chance.odds(0.6) else chance.one(("Always", "Never")),
            "volumeMounts": self._mounts(spec["volumes"], with_token=field != "ephemeralContainers"),
            "securityContext": self._security(on_windows=on_windows),
        }
        if field == "ephemeralContainers":
            return _without_empty(container)
        container["ports"] = [{"containerPort": port, "protocol": "TCP"} for port in chance.some(PORTS, 2)]
        for port in container["ports"]:
            if spec["hostNetwork"]:
                port["hostPort"] = port["containerPort"]
            elif chance.odds(0.4):
                port["hostPort"] = chance.one(PORTS)
        container["resources"] = self._resources()
        sidecar = field == "initContainers" and chance.odds(0.4)
        if sidecar:
            container["restartPolicy"] = "Always"
        if field == "containers" or sidecar:
            container |= {probe: chance.one(HANDLERS) for probe in PROBES if chance.odds(0.6)}
            container["lifecycle"] = {"preStop": {"sleep": {"seconds": 1}}} if chance.odds(0.5) else {}
        return _without_empty(container)

    def _node_selector(self) -> Json:
        key = "kubernetes.io/os" if self._chance.odds(0.8) else "beta.kubernetes.io/os"
        return {key: self._chance.one(("windows", "windows", "Windows", "linux"))} if self._chance.odds(0.35) else {}

    def _volumes(self) -> list[Json]:
        chance = self._chance
        volumes = []
        for number in range(chance.source.randint(0, 3)):
            paths = PATHS if chance.odds(0.75) else WINDOWS_PATHS
            source: Json = chance.one(
                (
                    {"hostPath": {"path": chance.one(paths), "type": ""}},
                    {"hostPath": {"path": chance.one(paths), "type": ""}},
                    {"emptyDir": {}},
                    {"secret": {"secretName": "s", "defaultMode": 420}},
                    {"flexVolume": {"driver": chance.one(FLEX_DRIVERS)}},
                )
            )
            volumes.append({"name": f"v{number}", **source})
        return volumes

    def _mounts(self, volumes: Sequence[Json], *, with_token: bool) -> list[Json]:
        mounts: list[Json] = []
        for volume in volumes:
            if volume["name"] == "token":
                mounts += [{"name": "token", "readOnly": True, "mountPath": TOKEN}] if with_token else []
            elif self._chance.odds(0.55):
                mount: Json = {"name": volume["name"], "mountPath": f"/data/{volume['name']}"}
                mounts.append(mount | ({"readOnly": True} if self._chance.odds(0.5) else {}))
        return mounts

    def _resources(self) -> Json:
        """Requests are at most the limits, and the API server fills those that are not set."""
        chance = self._chance
        limits: Json = {}
        requests: Json = {}
        for name, amounts, less in (("cpu", CPUS, "100m"), ("memory", MEMORIES, "64k")):
            if chance.odds(0.75):
                limits[name] = chance.one(amounts)
                requests[name] = limits[name] if chance.odds(0.7) else less
            elif chance.odds(0.5):
                requests[name] = chance.one(amounts)
        return _without_empty({"limits": limits, "requests": requests})

    def _annotations(self, spec: Json) -> Json:
        chance = self._chance
        names = [container["name"] for field in EVERY for container in spec.get(field, [])]
        found = {CONTAINER_SECCOMP + name: chance.one(SECCOMP_PROFILES) for name in names if chance.odds(0.2)}
        if chance.odds(0.2):
            found[SECCOMP] = chance.one(SECCOMP_PROFILES)
        # Since Kubernetes 1.30 the API server copies an annotation into the field, and refuses two that differ.
        for field in EVERY:
            for container in spec.get(field, []):
                asked = container.get("securityContext", {}).get("appArmorProfile")
                if chance.odds(0.25) and not asked and "os" not in spec:
                    profile = chance.one(APPARMOR_PROFILES)
                    found[APPARMOR + container["name"]] = profile
                    if chance.odds(0.5):
                        container.setdefault("securityContext", {})["appArmorProfile"] = _apparmor_field(profile)
        return found

    def _pod_security(self, *, on_windows: bool) -> Json:
        chance = self._chance
        context = self._shared_security(on_windows=on_windows)
        if not on_windows:
            context["supplementalGroups"] = chance.some(IDS, 2) if chance.odds(0.4) else []
            context["fsGroup"] = chance.one(IDS) if chance.odds(0.4) else None
            names = chance.some(SYSCTLS, 2) if chance.odds(0.5) else []
            context["sysctls"] = [{"name": name, "value": "1"} for name in names]
        return _without_empty(context)

    def _security(self, *, on_windows: bool) -> Json:
        chance = self._chance
        context = self._shared_security(on_windows=on_windows)
        if on_windows:
            return _without_empty(context)
        if chance.odds(0.5):
            added, dropped = chance.some(CAPABILITIES, 2), chance.some(CAPABILITIES, 2)
            context["capabilities"] = _without_empty({"add": added, "drop": dropped})
        context["privileged"] = chance.one((None, None, True, False))
        admin = {"SYS_ADMIN", "CAP_SYS_ADMIN"} & set((context.get("capabilities") or {}).get("add", []))
        may_refuse = not context["privileged"] and not admin
        context["allowPrivilegeEscalation"] = chance.one((None, True, False) if may_refuse else (None, True))
        context["readOnlyRootFilesystem"] = chance.one((None, True, True, False))
        context["procMount"] = chance.one((None, None, "Default", "Unmasked"))
        return _without_empty(context)

    def _shared_security(self, *, on_windows: bool) -> Json:
        """What a pod and a container may both set."""
        chance = self._chance
        context: Json = {"runAsNonRoot": chance.one((None, None, None, True, False))}
        if on_windows or chance.odds(0.2):
            user = chance.one(USERS) if chance.odds(0.6) else None
            context["windowsOptions"] = _without_empty({"runAsUserName": user, "hostProcess": chance.odds(0.2) or None})
        if on_windows:
            return context
        context |= {field: chance.one(IDS) for field in ("runAsUser", "runAsGroup") if chance.odds(0.35)}
        if chance.odds(0.35):
            profile = chance.one(("RuntimeDefault", "Unconfined", "Localhost"))
            context["seccompProfile"] = {"type": profile}
            if profile == "Localhost":
                context["seccompProfile"]["localhostProfile"] = chance.one(("a.json", "b.json"))
        if chance.odds(0.2):
            context["appArmorProfile"] = _apparmor_field(chance.one(APPARMOR_PROFILES))
        if chance.odds(0.4):
            odds = {"user": 0.15, "role": 0.15}
            options = {
                field: chance.one(texts) for field, texts in SELINUX.items() if chance.odds(odds.get(field, 0.6))
            }
            context["seLinuxOptions"] = options
        return context


def _apparmor_field(profile: str) -> Json:
    name, _, file = profile.partition("/")
    if name == "localhost":
        return {"type": "Localhost", "localhostProfile": file}
    return {"type": "Unconfined" if name == "unconfined" else "RuntimeDefault"}


def _without_empty(value: Json) -> Json:
    """What the API server keeps; an empty object of SELinux options stays."""
    return {
        name: each
        for name, each in value.items()
        if each is not None and each != [] and (each != {} or name == "seLinuxOptions")
    }
