"""`make run`: a cluster on this machine with azpolicy at work in it, until Ctrl-C; then nothing is left running.

It never touches the cluster that a shell's KUBECONFIG names: the operator gets the kubeconfig of the one started here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

from tests.cluster.harness import TestCluster, eventually, tools
from tests.cluster.harness.errors import HarnessError
from tests.cluster.harness.processes import free_port

ROOT: Final = Path(__file__).parents[2]
SNAPSHOT: Final = Path("examples/snapshot")
AZPOLICY: Final = Path(sys.executable).with_name("azpolicy")


def main() -> int:
    """Run the demonstration; 0, or 1 with one line that says what is wrong."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ.pop("KUBECONFIG", None)
    os.chdir(ROOT)
    try:
        with tools.being_built():
            _show_rendered_plan()
        print(
            "\nNow the cluster: etcd, kube-apiserver, kube-controller-manager and Gatekeeper. About 10 seconds.",
            flush=True,
        )
        with TestCluster.start() as cluster:
            cluster.kubectl("apply", "--filename", str(ROOT / "crds"))
            return _operate(cluster)
    except HarnessError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
    except KeyboardInterrupt:
        return 0


def _show_rendered_plan() -> None:
    """What will be enforced, while nothing else can be seen yet."""
    print(f"\nThe policies in {SNAPSHOT} become these objects (azpolicy render --snapshot {SNAPSHOT}):\n", flush=True)
    rendered = subprocess.run(
        [AZPOLICY, "render", "--snapshot", SNAPSHOT], check=True, capture_output=True, text=True
    ).stdout
    kind = ""
    for line in rendered.splitlines():
        if line.startswith("kind: "):
            kind = line.removeprefix("kind: ")
        elif line.startswith("  name: "):
            print(f"  {kind}/{line.removeprefix('  name: ')}", flush=True)


def _operate(cluster: TestCluster) -> int:
    listen, page = (f"127.0.0.1:{free_port()}" for _ in range(2))
    command = [
        str(AZPOLICY),
        "run",
        "--kubeconfig",
        str(cluster.kubeconfig),
        "--snapshot",
        str(SNAPSHOT),
        "--listen",
        listen,
        "--page-listen",
        page,
    ]
    print(f"\n$ azpolicy run --kubeconfig {cluster.kubeconfig} --snapshot {SNAPSHOT} --listen {listen}", flush=True)
    operator = subprocess.Popen(command, start_new_session=True)
    try:
        eventually(lambda: _enforced(cluster, operator), timeout=120, what="the example policies to be enforced")
        print(_what_to_try(cluster, listen, page), flush=True)
        ended = threading.Event()
        while operator.poll() is None and not ended.wait(0.5):
            pass
    except KeyboardInterrupt:
        print("stopping", flush=True)
        return 0
    else:
        return 1
    finally:
        operator.terminate()
        operator.wait(30)


def _enforced(cluster: TestCluster, operator: subprocess.Popen[bytes]) -> bool:
    if operator.poll() is not None:
        raise HarnessError("azpolicy run has ended: its last lines are above")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "webserver", "namespace": "default"},
        "spec": {"containers": [{"name": "webserver", "image": "nginx:latest"}]},
    }
    status, answer = cluster.request("POST", "/api/v1/namespaces/default/pods?dryRun=All", pod)
    return status == 403 and "has not been allowed" in str(answer.get("message"))


def _what_to_try(cluster: TestCluster, listen: str, page: str) -> str:
    return f"""
azpolicy enforces the policies now. In a browser: http://{page}/

In another shell:

  export KUBECONFIG={cluster.kubeconfig}
  alias kubectl={tools.path("kubectl")}
  alias azpolicy={AZPOLICY}

  kubectl run webserver --image=nginx:latest                       # denied, with the policy's reason
  kubectl get policysync                                           # is the cluster as Azure says?
  kubectl get assignedpolicies                                     # what is enforced here, and why the rest is not
  azpolicy status                                                  # all of it at a glance
  kubectl delete constraints --all                                 # back within a second, with an Event for each:
  kubectl get events --field-selector reason=DriftRepaired
  azpolicy plan --snapshot {ROOT / SNAPSHOT}
  curl -s http://{listen}/metrics | grep ^azpolicy_

Edit a file in {SNAPSHOT}: azpolicy applies it at once. Ctrl-C ends everything.
"""


if __name__ == "__main__":
    sys.exit(main())
