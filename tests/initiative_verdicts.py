"""What Azure's initiatives say of well-known workloads, derived by hand: tests/cluster/workloads/verdicts.yaml.

The members of some initiatives look at what expansion makes (`expanded`): they deny a workload for what they would deny
its pod for, but for what the API server adds to a pod when it is made (`added`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

WORKLOADS: Final = Path(__file__).parent / "cluster" / "workloads"
POD_OF: Final = "Pod of "


def load() -> dict[str, Any]:
    """The document, with the reasons of its pod beside those of each workload itself."""
    document: dict[str, Any] = yaml.safe_load((WORKLOADS / "verdicts.yaml").read_text(encoding="utf-8"))
    expanded = {name for name, facts in document["initiatives"].items() if facts.get("expanded")}
    for workload in document["verdicts"]:
        pods = {each["object"].removeprefix(POD_OF): each for each in workload["objects"] if POD_OF in each["object"]}
        for verdict in workload["objects"]:
            pod = pods.get(verdict["object"], {})
            implied = [found for each in pod.get("denied", []) if (found := _implied(each, expanded))]
            if implied:
                verdict["denied"] = [*verdict.get("denied", []), *implied]
    return document


def _implied(reason: dict[str, Any], expanded: set[str]) -> dict[str, Any] | None:
    """A pod's reason as one of its workload; None where nobody denies the workload for it."""
    by = {key: members for key, members in reason["by"].items() if key.partition("@")[0] in expanded}
    return {"why": f"its pod: {reason['why']}", "by": by} if by and not reason.get("added") else None
