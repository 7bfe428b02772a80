"""The programs of the test cluster, built once from their Go modules and kept in a cache.

Each folder in tests/cluster/tools is a Go module that pins one set of them. A new tool is a new line in TOOLS. A
control plane that is there already, in the folder that KUBEBUILDER_ASSETS names or on the PATH, is not built.

The standard library is enough for all of this: `make run` builds while the virtual environment is made.
"""

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.harness.errors import HarnessError
from tests.cluster.harness.processes import spawn

ROOT = Path(__file__).parents[3]
MODULES = Path(__file__).parents[1] / "tools"
PROGRESS_SECONDS = 15.0
GO_DOWNLOADS = "https://go.dev/dl/"
ACTIONLINT = "github.com/rhysd/actionlint"
GATEKEEPER = "github.com/open-policy-agent/gatekeeper/v3"
HELM = "helm.sh/helm/v3"
PROMETHEUS = "github.com/prometheus/prometheus"


@dataclass(frozen=True, slots=True)
class Tool:
    """A program: the folder of its go.mod, its package, the module whose version it has, the variable that says so.

    `tags` are Go's build tags, separated by commas.
    """

    folder: str
    package: str
    module: str
    version_variable: str | None = None
    tags: str = ""


def _kubernetes(command: str) -> Tool:
    package = f"k8s.io/kubernetes/cmd/{command}"
    return Tool("kubernetes", package, "k8s.io/kubernetes", "k8s.io/component-base/version.gitVersion")


TOOLS = {
    "etcd": Tool("kubernetes", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3"),
    "kube-apiserver": _kubernetes("kube-apiserver"),
    "kube-controller-manager": _kubernetes("kube-controller-manager"),
    "kubectl": _kubernetes("kubectl"),
    "gatekeeper": Tool("gatekeeper", GATEKEEPER, GATEKEEPER, f"{GATEKEEPER}/pkg/version.Version"),
    "gator": Tool("gatekeeper", f"{GATEKEEPER}/cmd/gator", GATEKEEPER),
    "gator-3.17": Tool("gatekeeper-3.17", f"{GATEKEEPER}/cmd/gator", GATEKEEPER),
    "actionlint": Tool("actionlint", f"{ACTIONLINT}/cmd/actionlint", ACTIONLINT),
    "opa": Tool("opa", "github.com/open-policy-agent/opa", "github.com/open-policy-agent/opa"),
    "helm": Tool("helm", f"{HELM}/cmd/helm", HELM, f"{HELM}/internal/version.version"),
    # Without the ways to find targets in every cloud, which are a third of it.
    "promtool": Tool("promtool", f"{PROMETHEUS}/cmd/promtool", PROMETHEUS, tags="remove_all_sd"),
}
CLUSTER_TOOLS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "gatekeeper")
# Whoever has these two has a control plane: of one alone, nobody knows which version of the other fits.
CONTROL_PLANE = ("etcd", "kube-apiserver")
ASSETS = "KUBEBUILDER_ASSETS"
# What a first build of a module's programs took on two cores, times two.
CORE_SECONDS = {"kubernetes": 430, "gatekeeper": 360}


def path(name: str) -> Path:
    """The program of this name, built first where it has to be; the first time that takes minutes."""
    return provided(name) or build(name)


def provided(name: str) -> Path | None:
    """The program of Kubernetes that is there already, with a whole control plane; None where it is to be built.

    In the folder that KUBEBUILDER_ASSETS names, as for controller-runtime's envtest, else on the PATH. HarnessError
    where that folder has no control plane.
    """
    if name not in TOOLS or TOOLS[name].folder != "kubernetes":
        return None
    assets = os.environ.get(ASSETS)
    searched = assets or os.environ.get("PATH", "")
    if lacking := [each for each in CONTROL_PLANE if shutil.which(each, path=searched) is None]:
        if assets:
            raise HarnessError(f"{ASSETS} names {assets}, which has no {' and no '.join(lacking)}: correct or unset it")
        return None
    found = shutil.which(name, path=searched)
    return Path(found).absolute() if found else None


@contextlib.contextmanager
def being_built(names: Sequence[str] = CLUSTER_TOOLS) -> Iterator[None]:
    """Build what is missing of these tools while the block runs, and wait for it at the end.

    It is said beforehand what is built and how long that takes. The programs of one module follow each other, as they
    share most packages; modules are built side by side, as the linker of each keeps one core busy. HarnessError where
    a build fails, and at once where there is no Go.
    """
    absent = missing(names)
    for line in announced(names, absent):
        _tell(line)
    by_module = defaultdict[str, list[str]](list)
    for name in absent:
        by_module[TOOLS[name].folder].append(name)
    # As processes of the same group: Ctrl-C ends all of them at once.
    command = [sys.executable, "-m", "tests.cluster.harness", "build"]
    builds = [
        subprocess.Popen([*command, *programs], cwd=ROOT, stdout=subprocess.DEVNULL) for programs in by_module.values()
    ]
    try:
        yield
        if {each.wait() for each in builds} - {0}:
            raise HarnessError("not everything could be built: the lines above say why")
    finally:
        for each in builds:
            each.terminate()
            each.wait()


def announced(names: Iterable[str], absent: Sequence[str]) -> Iterator[str]:
    """What is taken as it is, what is built, and how long a first build takes on this machine."""
    if ready := [name for name in names if provided(name)]:
        where = f"{ASSETS} names" if os.environ.get(ASSETS) else "the PATH has"
        yield f"{', '.join(ready)}: not built, those that {where} are used ({provided(ready[0])})"
    if absent:
        cores = os.cpu_count() or 1
        seconds = sum(CORE_SECONDS.get(folder, 60) for folder in {TOOLS[name].folder for name in absent})
        minutes = max(1, round(seconds / min(cores, 8) / 60))
        yield (
            f"the first time this builds {', '.join(absent)} from Go modules: about {minutes} "
            f"minute{'s' if minutes > 1 else ''} on this machine's {cores} cores, more where downloads are slow; "
            f"later runs find them in {cache_folder()}"
        )


def short_lived() -> dict[str, str]:
    """The environment of a Go program that ends in seconds; a fifth of gator's and opa's was garbage collection."""
    return {**os.environ, "GOGC": "400"}


def missing(names: Iterable[str] = CLUSTER_TOOLS) -> list[str]:
    """Those of the tools that `path` would have to build; HarnessError where there is no Go to do so."""
    return [name for name in names if not provided(name) and not (_bin_folder(TOOLS[name].folder) / name).exists()]


@functools.cache
def build(name: str) -> Path:
    """Build one tool into the cache, or find it there; safe for several processes at once."""
    if name not in TOOLS:
        raise HarnessError(f"there is no tool {name!r}; the tools are {', '.join(TOOLS)}")
    tool = TOOLS[name]
    program = _bin_folder(tool.folder) / name
    if not program.exists():
        with _locked(program, f"another process that builds {name}"):
            if not program.exists():
                _go_build(name, tool, program)
    return program


@functools.cache
def gatekeeper_manifest() -> Path:
    """The manifest that Gatekeeper's own release ships, copied from its module."""
    manifest = _bin_folder("gatekeeper") / "gatekeeper.yaml"
    if not manifest.exists():
        with _locked(manifest, "another process that copies Gatekeeper's manifest"), _replacing(manifest) as unfinished:
            shutil.copyfile(gatekeeper_sources() / "deploy" / "gatekeeper.yaml", unfinished)
    return manifest


def gatekeeper_sources() -> Path:
    """The folder of Gatekeeper's module, read-only, with all that its release ships."""
    return _sources("gatekeeper", GATEKEEPER)


def open_reports_crds() -> Path:
    """The CustomResourceDefinitions of openreports.io/v1alpha1, as its release ships them."""
    return _sources("reports", "github.com/openreports/reports-api") / "config" / "install.yaml"


def policy_report_crds() -> Path:
    """A folder with the CustomResourceDefinitions of wgpolicyk8s.io/v1alpha2."""
    return _sources("reports", "github.com/kyverno/kyverno") / "config" / "crds" / "policyreport"


@functools.cache
def _sources(folder: str, module: str) -> Path:
    """The folder of a module that a go.mod pins, read-only."""
    told = _go("mod", "download", "-json", module, folder=folder)
    found = re.search(r'"Dir": "(.+)"', told)
    if not found:
        raise HarnessError(f"go mod download does not say where {module} is:\n{told}")
    return Path(found[1])


def cache_folder() -> Path:
    """Where built programs are kept: $AZPOLICY_CACHE, or the user's cache folder."""
    if chosen := os.environ.get("AZPOLICY_CACHE"):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "azure-policy-sync"


@functools.cache
def _bin_folder(folder: str) -> Path:
    """The cache folder of one Go module: another go.mod, go.sum or Go makes another folder."""
    module = MODULES / folder
    _check_go(folder)
    digest = hashlib.sha256(_go("version", folder=folder).encode())
    for name in ("go.mod", "go.sum"):
        digest.update((module / name).read_bytes())
    return cache_folder() / "bin" / f"{folder}-{digest.hexdigest()[:12]}"


def _check_go(folder: str) -> None:
    wanted = re.search(r"^go (\d+)\.(\d+)", (MODULES / folder / "go.mod").read_text(), re.MULTILINE)
    if not wanted:
        raise HarnessError(f"{MODULES / folder / 'go.mod'} has no `go` line")
    needed = f"Go {wanted[1]}.{wanted[2]} or newer is needed to build the test cluster: {GO_DOWNLOADS}"
    if shutil.which("go") is None:
        raise HarnessError(f"{needed} (there is no `go` on the PATH)")
    installed = _go("version", folder=folder).strip()
    version = re.search(r"\bgo(\d+)\.(\d+)", installed)
    # A development version ("devel go1.27-…") has the same two numbers.
    if not version or (int(version[1]), int(version[2])) < (int(wanted[1]), int(wanted[2])):
        raise HarnessError(f"{needed} (found: {installed})")


def _go_build(name: str, tool: Tool, program: Path) -> None:
    """Run `go build`, telling on stderr that it is alive."""
    version = _module_version(tool)
    linker = "-s -w" + (f" -X {tool.version_variable}={version}" if tool.version_variable else "")
    log = program.with_name(f"{name}.build.log")
    with _replacing(program) as unfinished, log.open("wb") as output:
        command = [_which_go(), "build", "-mod=readonly", "-trimpath", "-buildvcs=false"]
        command += ["-tags", tool.tags, "-ldflags", linker, "-o", str(unfinished), tool.package]
        _tell(f"building {name} {version} from its Go module, into {program.parent}; later runs find it there")
        started = time.monotonic()
        process = spawn(command, log=output, folder=MODULES / tool.folder)
        try:
            while (code := _wait(process)) is None:
                _tell(f"still building {name}, for {time.monotonic() - started:.0f} s now")
        finally:
            process.kill()
            process.wait()
        if code:
            raise HarnessError(f"building {name} failed with code {code}; {log} says:\n{_last_lines(log)}")
    _tell(f"built {name} in {time.monotonic() - started:.0f} s")


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(PROGRESS_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def _module_version(tool: Tool) -> str:
    """The version that go.mod pins; `go build` knows it too, but the programs print what the linker set."""
    required = re.search(
        rf"^\s*(?:require )?{re.escape(tool.module)} (v\S+)",
        (MODULES / tool.folder / "go.mod").read_text(),
        re.MULTILINE,
    )
    if not required:
        raise HarnessError(f"{MODULES / tool.folder / 'go.mod'} does not require {tool.module}")
    return required[1]


def _which_go() -> str:
    return shutil.which("go") or "go"


def _go(*arguments: str, folder: str) -> str:
    """Output of a short go command run in a tool's module."""
    result = subprocess.run(
        [_which_go(), *arguments], cwd=MODULES / folder, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise HarnessError(f"go {' '.join(arguments)} failed in {MODULES / folder}: {result.stderr.strip()}")
    return result.stdout


@contextlib.contextmanager
def _locked(target: Path, holder: str) -> Iterator[None]:
    """Hold the lock of a cache entry; the kernel lets go of it when the process ends."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _tell(f"waiting for {holder}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A name to write to that becomes `target` when all went well: nobody sees half a program."""
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        yield unfinished
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _last_lines(log: Path, count: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])


def _tell(message: str) -> None:
    sys.stderr.write(f"test cluster: {message}\n")
    sys.stderr.flush()
