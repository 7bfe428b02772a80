"""Runs the benchmarks named on the command line, all without one: `python -m tests.bench [translate] [azure]`."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.bench import admission, azure, check, cluster, forecast, memory, repair, state, translate

if TYPE_CHECKING:
    from collections.abc import Callable

BENCHES: Final[dict[str, Callable[[Path], None]]] = {
    "translate": lambda _: translate.run(),
    "state": lambda _: state.run(),
    "cluster": cluster.run,
    "repair": repair.run,
    "azure": azure.run,
    "check": check.run,
    "forecast": forecast.run,
    "admission": lambda _: admission.run(),
    "memory": memory.run,
}


def main() -> int:
    """Prints the machine, then each bench's figures."""
    names = sys.argv[1:] or list(BENCHES)
    if unknown := set(names) - BENCHES.keys():
        sys.stderr.write(f"error: no bench {', '.join(unknown)}: choose from {', '.join(BENCHES)}\n")
        return 2
    os.environ.pop("KUBECONFIG", None)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n", flush=True)
    for name in names:
        with tempfile.TemporaryDirectory(prefix="azpolicy-bench-") as folder:
            BENCHES[name](Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
