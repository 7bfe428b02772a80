"""Real helm, and the chart as its users have it: with Gatekeeper's own chart in it, taken from Gatekeeper's module.

`helm dependency update` would fetch that chart from the network; a folder in charts/ is the same to helm.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.cluster.harness import HarnessError, tools

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT: Final = Path(__file__).resolve().parents[2]
CHART: Final = ROOT / "deploy" / "chart"
NAME: Final = "azpolicy"
NAMESPACE: Final = "azpolicy-system"
# What helm asks of a cluster is given where there is none; the helm of a module build takes 1.20 for the newest.
KUBERNETES: Final = "1.36.0"


def helm(
    *arguments: str | Path, values: Mapping[str, Any] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs helm with values, out of reach of its user's own settings; with `check`, a failure is a HarnessError."""
    given = () if values is None else ("--values", "-")
    result = subprocess.run(
        [tools.path("helm"), *arguments, *given],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=False,
        env=_environ(),
    )
    if check and result.returncode:
        raise HarnessError(f"helm {arguments[0]} ended with {result.returncode}: {result.stderr.strip()}")
    return result


def assemble(folder: Path) -> Path:
    """Makes `folder` a copy of the chart that has its dependency."""
    shutil.copytree(CHART, folder)
    subchart = folder / "charts" / "gatekeeper"
    # Without the modes: files of the module cache are read-only.
    shutil.copytree(tools.gatekeeper_sources() / "charts" / "gatekeeper", subchart, copy_function=shutil.copyfile)
    for each in (subchart, *subchart.rglob("*/")):
        each.chmod(0o755)
    return folder


def template(
    chart: Path, values: Mapping[str, Any], *arguments: str, namespace: str = NAMESPACE, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Renders the chart as text, without a cluster."""
    options = ("--namespace", namespace, "--kube-version", KUBERNETES, *arguments)
    return helm("template", NAME, chart, *options, values=values, check=check)


def render(chart: Path, values: Mapping[str, Any], *, namespace: str = NAMESPACE) -> list[dict[str, Any]]:
    """The objects that the chart makes, without a cluster."""
    return load_all(template(chart, values, namespace=namespace).stdout)


def load_all(text: str) -> list[dict[str, Any]]:
    """The documents of a YAML text, empty ones left out."""
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


def _environ() -> dict[str, str]:
    outside = tools.short_lived()
    own = {name: value for name, value in outside.items() if name != "KUBECONFIG" and not name.startswith("HELM_")}
    folder = tools.cache_folder() / "helm"
    homes = {f"HELM_{home}_HOME": str(folder / home.lower()) for home in ("CACHE", "CONFIG", "DATA")}
    return own | homes
