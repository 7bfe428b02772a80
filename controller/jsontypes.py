"""The shape of JSON: Azure's documents, parameter values and Kubernetes manifests have it."""

from __future__ import annotations

from typing import TypeAlias

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
