"""Templates that differ from what is desired by the API server's own defaults alone, told without asking it.

A ConstraintTemplate's schema has defaults, so what is stored is never to the letter what was written. A dry run tells
the two apart, but Gatekeeper compiles the template's Rego for it: with 500 constraints about a tenth of a second for
each template, one after the other, at every start. The schema is in the kind's CustomResourceDefinition, and its
defaults are simple: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#defaulting
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from controller.cluster.diff import same
from controller.cluster.dry_run import DryRunAnswer
from controller.cluster.foreign import mappings_at, text_at, value_at
from controller.cluster.kinds import CRD_PATH, TEMPLATE, LiveObject
from controller.gatekeeper.model import Role
from controller.gatekeeper.schema import Schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.cluster.changes import NeedsDryRun
    from controller.cluster.client import KubeClient

_PATH: Final = f"{CRD_PATH}/{TEMPLATE.plural}.{TEMPLATE.group}"


async def template_schemas(client: KubeClient) -> Mapping[str, Schema]:
    """The schema of a ConstraintTemplate's spec by version (`v1`), as this cluster has it; empty where nobody may tell.

    ClusterError where nobody answers.
    """
    response = await client.request("GET", _PATH)
    versions = mappings_at(response.body, "spec", "versions") if response.ok else []
    return {
        text_at(version, "name"): Schema.of(value_at(version, "schema", "openAPIV3Schema", "properties", "spec"))
        for version in versions
    }


def equal_by_defaults(change: NeedsDryRun, schemas: Mapping[str, Schema]) -> DryRunAnswer | None:
    """A dry run's answer where defaults explain every difference; None where only the server can tell.

    Only equality is concluded. What else there may be (a webhook's change, a field that is dropped) shows as a
    difference, and then the server is asked.
    """
    version = str(change.desired.manifest["apiVersion"]).rpartition("/")[2]
    if change.desired.role is not Role.TEMPLATE or version not in schemas:
        return None
    stored = LiveObject(change.live.ref, {**change.target, "spec": schemas[version].filled(change.target["spec"])})
    return DryRunAnswer(stored) if same(stored.projection(), change.live.projection()) else None
