"""The harness as a command: a cluster to try things on, and the tools by name.

python -m tests.cluster.harness up
python -m tests.cluster.harness build [TOOL...]
"""

import argparse
import signal
import sys
import threading
from pathlib import Path

from tests.cluster.harness import AUDIT_INTERVAL, tools
from tests.cluster.harness.errors import HarnessError


def main() -> int:
    """Run one command; 0, or 1 with one line that says what is wrong."""
    arguments = _parser().parse_args()
    try:
        if arguments.command == "build":
            return build(arguments.tools)
        return up(arguments.audit_interval, arguments.folder, with_gatekeeper=not arguments.without_gatekeeper)
    except HarnessError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def build(names: list[str]) -> int:
    """Build tools, all that a cluster needs if none is named, and print their paths."""
    if not names:
        with tools.being_built():
            pass
    for name in names or tools.CLUSTER_TOOLS:
        print(tools.path(name), flush=True)
    return 0


def up(audit_interval: int, folder: Path | None, *, with_gatekeeper: bool) -> int:
    """Start a cluster, say how to use it, stay until Ctrl-C or SIGTERM, leave nothing running."""
    from tests.cluster.harness.cluster import TestCluster

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tools.being_built():
        pass
    with TestCluster.start(gatekeeper=with_gatekeeper, audit_interval=audit_interval, folder=folder) as cluster:
        try:
            print(
                f"The cluster runs. In another shell:\n\n"
                f"  export KUBECONFIG={cluster.kubeconfig}\n"
                f"  {tools.path('kubectl')} get namespaces\n\n"
                f"API server  {cluster.server}\n"
                f"logs        {cluster.logs}\n\n"
                f"Ctrl-C ends it and removes everything.",
                flush=True,
            )
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopping", flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.harness", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", help="start a cluster and keep it until Ctrl-C")
    interval = f"of Gatekeeper (default: {AUDIT_INTERVAL})"
    start.add_argument("--audit-interval", type=int, default=AUDIT_INTERVAL, metavar="SECONDS", help=interval)
    start.add_argument("--folder", type=Path, help="where its files go, and stay (default: a temporary folder)")
    start.add_argument("--without-gatekeeper", action="store_true", help="a bare cluster")
    builds = commands.add_parser("build", help="build tools and print their paths")
    builds.add_argument("tools", nargs="*", metavar="TOOL", help=f"one of {', '.join(tools.TOOLS)}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
