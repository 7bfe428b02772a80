"""What is configured, as frozen values: where policies come from, which cluster, how Azure is reached."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from controller.azure.access import ApiVersions, ArmSettings
from controller.azure.clouds import CLOUDS, Cloud, CloudName, custom_cloud
from controller.azure.credentials import credential_settings
from controller.azure.parse import cluster_of
from controller.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from controller.gatekeeper.naming import OwnershipMarks


@dataclass(frozen=True, slots=True)
class AzureOptions:
    """How Azure is reached when there is no snapshot."""

    cloud: str
    cloud_endpoint: str
    cloud_audience: str
    cloud_authority: str
    cloud_ca_file: str
    credential: str
    api_versions: tuple[str, ...]

    def settings(self, cluster_id: str | None, environ: Mapping[str, str]) -> ArmSettings:
        """The reader's settings; InputError for what is missing or does not fit together."""
        if not cluster_id:
            raise InputError("no cluster is named: give --cluster-id with its Azure resource id, or --snapshot PATH")
        cluster_of(cluster_id)
        return ArmSettings(
            cluster_id=cluster_id,
            cloud=self._cloud(),
            credential=credential_settings(self.credential, environ),
            api_versions=self._api_versions(),
        )

    def _cloud(self) -> Cloud:
        if self.cloud != CloudName.CUSTOM:
            return CLOUDS[CloudName(self.cloud)]
        return custom_cloud(
            self.cloud_endpoint,
            audience=self.cloud_audience,
            authority=self.cloud_authority,
            ca_file=self.cloud_ca_file,
        )

    def _api_versions(self) -> ApiVersions:
        known = {f.name.replace("_", "-"): f.name for f in fields(ApiVersions)}
        given = dict(pair.partition("=")[::2] for pair in self.api_versions)
        if unknown := given.keys() - known.keys():
            raise InputError(f"--api-version {min(unknown)}: give NAME=VERSION, NAME one of {', '.join(sorted(known))}")
        return replace(ApiVersions(), **{known[name]: version for name, version in given.items()})


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Where policies and templates come from, and what their objects carry; `snapshot` None means Azure itself."""

    snapshot: Path | None
    azure: AzureOptions
    cluster_id: str | None
    templates: str
    template_hosts: tuple[str, ...]
    template_pins: tuple[str, ...]
    template_cache: Path | None
    marks: OwnershipMarks
    excluded_namespaces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Which cluster to talk to; None leaves it to the kubeconfig rules that kubectl follows."""

    kubeconfig: Path | None
    context: str | None
