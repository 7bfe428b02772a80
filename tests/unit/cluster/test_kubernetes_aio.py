"""A command imports what it uses of the Kubernetes client's packages, and whoever wants the rest still gets it."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

from controller.cluster.kubernetes_aio import import_parts_on_demand

# What `import kubernetes.aio` brings along by itself.
UNUSED: Final = (
    "kubernetes.aio.dynamic",
    "kubernetes.aio.stream",
    "kubernetes.client.rest",
    "kubernetes.config",
    "requests",
    "requests_oauthlib",
    "websocket",
)


def _printed(code: str) -> str:
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ended.stdout.strip()


@pytest.mark.parametrize("command", ["apply", "plan", "run", "status"])
def test_no_command_imports_the_parts_that_nothing_uses(command: str) -> None:
    imported = f"import sys, controller.cli.{command}; print(*(set({UNUSED!r}) & sys.modules.keys()))"

    assert _printed(imported) == ""


def test_a_part_comes_once_somebody_asks_for_it() -> None:
    code = """\
import controller.cluster.client, kubernetes
from kubernetes import watch
print(kubernetes.client.__name__, kubernetes.aio.stream.__name__, watch.__name__)
"""

    assert _printed(code) == "kubernetes.client kubernetes.aio.stream kubernetes.watch"


def test_what_is_no_part_is_no_attribute() -> None:
    assert _printed("import controller.cluster.client, kubernetes; print(hasattr(kubernetes, 'nonsense'))") == "False"


def test_a_package_that_is_imported_already_stays_whole() -> None:
    code = """\
import kubernetes
whole = kubernetes.client
import controller.cluster.client
print(sys.modules["kubernetes"].client is whole)
"""

    assert _printed(f"import sys\n{code}") == "True"


def test_a_package_that_there_is_not_is_named() -> None:
    with pytest.raises(ModuleNotFoundError, match="no module named 'nonsense'"):
        import_parts_on_demand("nonsense")
