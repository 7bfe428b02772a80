"""The parts of `kubernetes.aio` that are used here, without the others.

`kubernetes` and `kubernetes.aio` import all of themselves: a second, synchronous client with requests and OAuth,
dynamic clients, websockets. That is a fifth of what it takes to start a command. docs/decisions/027-parts-on-demand.md
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any


def import_parts_on_demand(package: str) -> None:
    """Has a package import each of its parts once somebody asks for it (https://peps.python.org/pep-0562/).

    A package that is imported already stays as it is. ModuleNotFoundError where there is none of this name.
    """
    if package in sys.modules:
        return
    spec = find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"no module named {package!r}", name=package)

    def part(name: str) -> Any:
        try:
            return import_module(f"{package}.{name}")
        except ModuleNotFoundError as error:
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from error

    sys.modules[package] = module = module_from_spec(spec)
    vars(module)["__getattr__"] = part


import_parts_on_demand("kubernetes")
import_parts_on_demand("kubernetes.aio")

from kubernetes.aio.client import ApiClient, Configuration  # noqa: E402 - as above
from kubernetes.aio.config import load_incluster_config, load_kube_config  # noqa: E402
from kubernetes.aio.config.config_exception import ConfigException  # noqa: E402

__all__ = ["ApiClient", "ConfigException", "Configuration", "load_incluster_config", "load_kube_config"]
