"""What is configured, as frozen values: where policies come from, which cluster, how Azure is reached."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from controller.azure.access import ApiVersions, ArmSettings
from controller.azure.clouds import CLOUDS, Cloud, CloudName, custom_cloud
from controller.azure.credentials import credential_settings
from controller.azure.parse import cluster_of
from controller.errors import InputError
from controller.gatekeeper.expansion import Expansion

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from controller.azure.declared import DeclaredCluster
    from controller.azure.model import ClusterResource
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

    def settings(self, cluster: ClusterResource | None, environ: Mapping[str, str]) -> ArmSettings:
        """The reader's settings; InputError for what is missing or does not fit together."""
        if cluster is None:
            raise InputError(
                "no cluster is named: give --cluster-id with its Azure resource id, --cluster-scope and --cluster-name"
                " for one that Azure does not know, or --snapshot PATH"
            )
        if cluster.declared and cluster.document is None:
            raise InputError(
                f"--cluster-id {cluster.id} is the id of a declared cluster, which Azure does not know: declare it"
                " with --cluster-scope and --cluster-name"
            )
        return ArmSettings(
            cluster=cluster,
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
    declared: DeclaredCluster | None = None
    inventory_kinds: tuple[str, ...] = ()
    expansion: Expansion = Expansion.ASSIGNED

    @property
    def asked_id(self) -> str | None:
        """The id of the cluster that is named or declared, as given; None leaves it to the snapshot."""
        return self.declared.id if self.declared else self.cluster_id

    def cluster(self) -> ClusterResource | None:
        """The cluster that is named or declared; None leaves it to the snapshot. InputError where it cannot be."""
        if self.cluster_id and self.declared:
            raise InputError(
                "--cluster-id names a cluster in Azure, --cluster-scope and its like declare one that Azure does not"
                " know: give either"
            )
        if self.declared:
            return self.declared.resource()
        return cluster_of(self.cluster_id) if self.cluster_id else None


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Which cluster to talk to; None leaves it to the kubeconfig rules that kubectl follows."""

    kubeconfig: Path | None
    context: str | None
