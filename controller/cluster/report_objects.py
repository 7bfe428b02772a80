"""Reports of policies in the cluster, as two APIs of others define them: which are ours, and how they are found.

OpenReports (https://github.com/openreports/reports-api) and the PolicyReport API of the Kubernetes policy working group
before it. Their CustomResourceDefinitions are never installed by azpolicy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from controller.cluster.foreign import mappings_at, text_at
from controller.cluster.kinds import CLUSTER_POLICY_REPORT, CLUSTER_REPORT, POLICY_REPORT, REPORT, LiveObject, Resource
from controller.gatekeeper.naming import FIELD_MANAGER, MANAGED_BY_LABEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from controller.cluster.client import KubeClient
    from controller.gatekeeper.naming import OwnershipMarks

OVERVIEW: Final = "azpolicy-assignments"
OF_CLUSTER: Final = "azpolicy-cluster"
OF_NAMESPACE: Final = "azpolicy"
_OUR_NAME: Final = re.compile(rf"({OVERVIEW}|{OF_CLUSTER}|{OF_NAMESPACE})(-[0-9]+)?")


@dataclass(frozen=True, slots=True)
class ReportApi:
    """An API of reports: the kind of a namespace's, and that of the cluster's.

    `names_source`: a report says at its top who made it; else each of its results does.
    """

    setting: str
    namespaced: Resource
    cluster: Resource
    names_source: bool

    @property
    def group(self) -> str:
        """The API group of both kinds."""
        return self.cluster.group

    @property
    def kinds(self) -> tuple[Resource, Resource]:
        """Both kinds."""
        return self.cluster, self.namespaced


OPEN_REPORTS: Final = ReportApi("openreports", REPORT, CLUSTER_REPORT, names_source=True)
POLICY_REPORTS: Final = ReportApi("wgpolicy", POLICY_REPORT, CLUSTER_POLICY_REPORT, names_source=False)
REPORT_APIS: Final = (OPEN_REPORTS, POLICY_REPORTS)
REPORT_GROUPS: Final = frozenset(each.group for each in REPORT_APIS)
BY_SETTING: Final[Mapping[str, ReportApi | None]] = {"none": None, **{each.setting: each for each in REPORT_APIS}}


async def own_reports(
    client: KubeClient, kind: Resource, marks: OwnershipMarks
) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
    """Our reports of a kind in all namespaces: the path of each, and its metadata; none where the kind is not served.

    ClusterError where they cannot be listed.
    """
    values = ",".join(sorted({marks.managed_by, *marks.adopted}))
    async for item in client.items(kind.path(), f"{MANAGED_BY_LABEL} in ({values})"):
        live = LiveObject.of(kind, item)
        if _OUR_NAME.fullmatch(live.ref.name) and marks.known(live.labels.get(MANAGED_BY_LABEL)):
            namespace = text_at(item, "metadata", "namespace")
            yield replace(kind, namespace=namespace).path(live.ref.name), item


def is_our_report(live: LiveObject, marks: OwnershipMarks) -> bool:
    """Whether a report that has a name of ours is ours: by its label, or, where that was taken off, by who wrote it."""
    label = live.labels.get(MANAGED_BY_LABEL)
    return marks.known(label) if label is not None else FIELD_MANAGER in live.managers


async def served_kinds(client: KubeClient, api: ReportApi) -> frozenset[Resource]:
    """Which of an API's kinds the API server knows now. Discovery tells everybody, whatever rights they have."""
    version = api.cluster.api_version
    response = await client.request("GET", f"/apis/{version}")
    if not response.ok and response.status != HTTPStatus.NOT_FOUND:
        raise response.error(f"asking for the kinds of {version}")
    names = {text_at(each, "name") for each in mappings_at(response.body, "resources")}
    return frozenset(kind for kind in api.kinds if kind.plural in names)
