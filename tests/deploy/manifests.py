"""Renders deploy/manifests/azpolicy.yaml from the chart, for those who install with kubectl: `make manifests`."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Final

from tests.deploy.helm import NAMESPACE, ROOT, assemble, template

MANIFEST: Final = ROOT / "deploy" / "manifests" / "azpolicy.yaml"
# Each EDIT is for whoever installs to replace; the file's head says how.
CLUSTER_ID: Final = "/subscriptions/EDIT/resourceGroups/EDIT/providers/Microsoft.ContainerService/managedClusters/EDIT"
VALUES: Final = {
    "image": {"repository": "edit-image"},
    "azure": {"clusterId": CLUSTER_ID, "tenantId": "EDIT-TENANT", "clientId": "EDIT-CLIENT"},
    # Only helm follows that mark: `kubectl delete -f` deletes the kinds.
    "crds": {"keep": False},
    # No cluster can be asked for the port of its API server.
    "networkPolicy": {"egressPorts": [443, 6443]},
}
HEAD: Final = f"""\
# azpolicy for kubectl: generated from the chart by `make manifests`, do not edit here.
#
# Gatekeeper has to be in the cluster, in the namespace gatekeeper-system. Replace the four placeholders and apply:
#
#   sed -e 's|edit-image:|registry.example.com/azpolicy:|' -e "s|/subscriptions/EDIT[^\"]*|$CLUSTER_ID|" \\
#       -e "s|EDIT-TENANT|$TENANT_ID|" -e "s|EDIT-CLIENT|$CLIENT_ID|" azpolicy.yaml | kubectl apply -f -
#
# It reads Azure by workload identity. Other credentials, snapshots and settings: the chart's values.yaml lists them.
# The NetworkPolicy allows the API server at port 443 or 6443. `kubectl delete -f` with this file leaves enforcement in
# place, but deletes the kinds PolicySync and AssignedPolicy.
---
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""
# What is true of a release only.
_OF_HELM: Final = re.compile(
    r"^ *(# Source: .*|helm\.sh/chart: .*|app\.kubernetes\.io/managed-by: Helm|)\n", re.MULTILINE
)


def rendered() -> str:
    """The file as it has to be."""
    with tempfile.TemporaryDirectory() as folder:
        text = template(assemble(Path(folder) / "chart"), VALUES).stdout
    return HEAD + _OF_HELM.sub("", text)


if __name__ == "__main__":
    MANIFEST.write_text(rendered())
