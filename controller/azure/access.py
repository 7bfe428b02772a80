"""How Azure is reached: the settings of its reader, apart from the SDK that they are for.

Whoever only parses settings, or reads a snapshot, imports this and pays for nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from controller.azure.clouds import Cloud
    from controller.azure.credentials import CredentialSettings


@dataclass(frozen=True, slots=True)
class ApiVersions:
    """The api-version that each kind of resource is asked with; a sovereign cloud may lag behind these."""

    policy: str = "2026-06-01"
    exemptions: str = "2022-07-01-preview"
    enrollments: str = "2026-01-01-preview"
    managed_clusters: str = "2025-01-01"
    connected_clusters: str = "2024-01-01"
    policy_states: str = "2019-10-01"
    management_groups: str = "2020-05-01"
    resource_groups: str = "2021-04-01"
    subscriptions: str = "2021-01-01"


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient a read is, in seconds, and how many requests it makes: `retries`, `parallel` at once, `requests`.

    More than `requests` are made where everything that matters needs them; they are the limit of what can wait.
    """

    poll: float = 300.0
    retries: int = 3
    retry_after_cap: float = 60.0
    connect: float = 10.0
    answer: float = 30.0
    parallel: int = 8
    requests: int = 30
    floating_versions: float = 3600.0


@dataclass(frozen=True, slots=True)
class ArmSettings:
    """Which cluster is read, from which cloud, as whom, and how patiently."""

    cluster_id: str
    cloud: Cloud
    credential: CredentialSettings
    api_versions: ApiVersions = field(default_factory=ApiVersions)
    limits: Limits = field(default_factory=Limits)
