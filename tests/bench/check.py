"""How long `azpolicy check` takes for the manifests of a large repository, and how long gator alone does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import yaml

from controller.check.manifests import read_manifests
from controller.check.workloads import pod_of
from tests.bench.figures import at_most, figure, median_of, quantity, stopwatch, unmeasured
from tests.cluster.harness import tools
from tests.snapshots import Snapshot

ROOT: Final = Path(__file__).parents[2]
AZPOLICY: Final = Path(sys.executable).with_name("azpolicy")
AZURE: Final = ROOT.parent / "shared" / "azure-policy"
SAFEGUARDS: Final = "c047ea8e-9c78-49b2-958b-37e56d291a44"
MANIFESTS: Final = 1000
FILES: Final = 100
GOAL: Final = 5.0
RUNS: Final = 3

DEPLOYMENT: Final = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web-{number}
  namespace: shop-{space}
spec:
  selector: {{matchLabels: {{app: web-{number}}}}}
  template:
    metadata: {{labels: {{app: web-{number}}}}}
    spec:
      containers:
        - name: web
          image: registry.example.com/web:{number}
          resources: {{requests: {{cpu: 100m, memory: 64Mi}}, limits: {{cpu: 200m, memory: 128Mi}}}}
          securityContext: {{privileged: {bad}, runAsNonRoot: true}}
"""


def run(folder: Path) -> None:
    """Prints the time for 1,000 Deployments, a tenth of which break something, by two sets of policies."""
    manifests = folder / "manifests"
    _write(manifests)
    name = f"checking {MANIFESTS} Deployments"
    _time(f"{name}, the example's policies", ROOT / "examples" / "snapshot", manifests)
    if AZURE.exists():
        snapshot = safeguards(folder / "snapshot")
        _time(f"{name}, Azure's deployment safeguards", snapshot, manifests, limit=_limit(snapshot, manifests))
    else:
        unmeasured(
            f"{name}, Azure's deployment safeguards", "Azure's published definitions are not beside this checkout"
        )


def _write(folder: Path) -> None:
    folder.mkdir()
    each = MANIFESTS // FILES
    for file in range(FILES):
        numbers = range(file * each, (file + 1) * each)
        texts = (DEPLOYMENT.format(number=n, space=n % 20, bad=str(n % 10 == 0).lower()) for n in numbers)
        (folder / f"app-{file:03}.yaml").write_text("---\n".join(texts))


def gator() -> str:
    """The path of gator."""
    return os.environ.get("AZPOLICY_GATOR") or str(tools.path("gator"))


def _time(name: str, snapshot: Path, manifests: Path, *, limit: str = "") -> None:
    command = [str(AZPOLICY), "check", "--snapshot", str(snapshot), "--gator", gator(), str(manifests)]
    times = []
    for _ in range(RUNS):
        with stopwatch() as watch:
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if not ended.stdout:
            raise SystemExit(ended.stderr)
        times.append(watch.seconds)
    taken = median_of(times)
    summary = ended.stdout.splitlines()[-1].removeprefix("check: ")
    figure(name, taken, "s", goal=at_most(GOAL), beside=limit, detail=summary)


def _limit(snapshot: Path, manifests: Path) -> str:
    """What gator alone needs for the same policies, Deployments and pods, given to it at once as JSON."""
    rendered = subprocess.run([str(AZPOLICY), "render", "--snapshot", str(snapshot)], capture_output=True, check=False)
    documents = [each for each in yaml.load_all(rendered.stdout, Loader=yaml.CSafeLoader) if each]
    for manifest in read_manifests([str(manifests)]).manifests:
        documents += [manifest.content, pod_of(manifest, str(manifest.metadata["namespace"]))]
    given = "\n---\n".join(map(json.dumps, documents))
    times = []
    for _ in range(RUNS):
        with stopwatch() as watch:
            ended = subprocess.run(
                [gator(), "test", "--output=json"], input=given, capture_output=True, text=True, check=False
            )
        times.append(watch.seconds)
    taken = quantity(median_of(times), "s")
    return f"gator alone, on the same objects: {taken} ({len(json.loads(ended.stdout))} results)"


def safeguards(folder: Path) -> Path:
    """Azure's initiative of deployment safeguards, assigned."""
    snapshot = Snapshot(folder)
    for kind in ("definitions", "initiatives"):
        shutil.copytree(AZURE / kind, folder / kind)
    initiative = f"/providers/Microsoft.Authorization/policySetDefinitions/{SAFEGUARDS}"
    snapshot.assign("safeguards", initiative, allowedContainerImagesRegex="^registry.example.com/.+$")
    return folder
