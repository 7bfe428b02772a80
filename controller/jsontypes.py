"""The shape of JSON, named once: what Azure's documents, parameter values and Kubernetes manifests are made of."""

from __future__ import annotations

from typing import TypeAlias

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
