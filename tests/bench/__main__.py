"""Runs the benchmarks named on the command line, all without one: `python -m tests.bench [translate] [azure]`.

A table for each on stdout, and one of all figures at the end; stderr has each figure as it comes. What a goal misses is
said and fails nothing. A bench that cannot be run is said too, the others go on, and the exit code is 1.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.bench import admission, azure, check, cluster, forecast, plan, repair, scale, state, translate
from tests.bench.figures import summary, table, take

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.figures import Figure

BENCHES: Final[dict[str, Callable[[Path], None]]] = {
    "translate": lambda _: translate.run(),
    "state": lambda _: state.run(),
    "cluster": cluster.run,
    "repair": repair.run,
    "azure": azure.run,
    "check": check.run,
    "forecast": forecast.run,
    "admission": lambda _: admission.run(),
    "plan": plan.run,
    "scale": scale.run,
}


def main() -> int:
    """Prints the machine, each bench's figures, and all of them."""
    names = sys.argv[1:] or list(BENCHES)
    if unknown := set(names) - BENCHES.keys():
        sys.stderr.write(f"error: no bench {', '.join(unknown)}: choose from {', '.join(BENCHES)}\n")
        return 2
    os.environ.pop("KUBECONFIG", None)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}", flush=True)
    failed: dict[str, str] = {}
    figures: list[Figure] = []
    for name in names:
        if problem := _run(BENCHES[name]):
            failed[name] = problem
        told = take()
        figures += told
        print(f"\n{name}\n\n{table(told)}" if told else f"\n{name}", flush=True)
        if problem:
            print(f"\nFAILED: {problem}", flush=True)
    print(f"\nall figures\n\n{table(figures)}\n\n{summary(figures)}")
    for name, problem in failed.items():
        print(f"failed: {name}: {problem}")
    return 1 if failed else 0


def _run(bench: Callable[[Path], None]) -> str:
    """Runs one; what went wrong, empty where nothing did."""
    try:
        with tempfile.TemporaryDirectory(prefix="azpolicy-bench-") as folder:
            bench(Path(folder))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, the others are to run
        traceback.print_exc()
        return " ".join(str(error).split()) or type(error).__name__
    return ""


if __name__ == "__main__":
    sys.exit(main())
