"""Whether Gatekeeper is there, new enough, and asked by the API server: without it no policy is enforced.

Reads only, and only what the chart's Role allows; what may not be read is taken to be well.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from controller.cluster.foreign import mapping_at, mappings_at, text_at
from controller.cluster.kinds import TEMPLATE
from controller.gatekeeper.naming import GATEKEEPER_NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from controller.cluster.client import KubeClient

WEBHOOK_NAME: Final = "gatekeeper-validating-webhook-configuration"
WEBHOOK_PATH: Final = f"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{WEBHOOK_NAME}"
DEPLOYMENTS: Final = f"/apis/apps/v1/namespaces/{GATEKEEPER_NAMESPACE}/deployments"
OLDEST: Final = (3, 17)
_SYSTEM: Final = {"labelSelector": "gatekeeper.sh/system=yes"}
_VERSION: Final = re.compile(r":v?(\d+)\.(\d+)\.\d+[^/@]*(@|$)")


class GatekeeperProblem(StrEnum):
    """What is wrong with Gatekeeper; the value is the condition's reason."""

    MISSING = "GatekeeperMissing"
    TOO_OLD = "GatekeeperTooOld"
    WEBHOOK_UNAVAILABLE = "WebhookUnavailable"


@dataclass(frozen=True, slots=True)
class GatekeeperHealth:
    """How Gatekeeper is; `problem` None where nothing speaks against it."""

    problem: GatekeeperProblem | None = None
    message: str = ""


async def gatekeeper_health(client: KubeClient) -> GatekeeperHealth:
    """Asks the cluster about Gatekeeper; ClusterError when the API server cannot be asked."""
    served, webhook, workloads = await asyncio.gather(
        client.request("GET", f"/apis/{TEMPLATE.api_version}"),
        client.request("GET", WEBHOOK_PATH),
        client.request("GET", DEPLOYMENTS, query=_SYSTEM),
    )
    for response in (served, webhook, workloads):
        if not response.ok and response.status not in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
            raise response.error("asking about Gatekeeper")
    if served.status == HTTPStatus.NOT_FOUND:
        message = "Gatekeeper is not installed: there is no ConstraintTemplate kind"
        return GatekeeperHealth(GatekeeperProblem.MISSING, message)
    if away := await _webhook_unavailable(
        client, webhook.body if webhook.ok else None, missing=webhook.status == HTTPStatus.NOT_FOUND
    ):
        return GatekeeperHealth(GatekeeperProblem.WEBHOOK_UNAVAILABLE, away)
    if old := too_old(_images(mappings_at(workloads.body, "items"))):
        message = f"Gatekeeper {old} is older than {OLDEST[0]}.{OLDEST[1]}, the oldest that is supported: upgrade it"
        return GatekeeperHealth(GatekeeperProblem.TOO_OLD, message)
    return GatekeeperHealth()


def too_old(images: Sequence[str]) -> str:
    """The version of the oldest image that is older than OLDEST; empty where none is, or none has a version."""
    told = (_VERSION.search(image) for image in images)
    old = sorted((int(found[1]), int(found[2])) for found in told if found)
    return f"{old[0][0]}.{old[0][1]}" if old and old[0] < OLDEST else ""


def _images(workloads: Sequence[Mapping[str, Any]]) -> list[str]:
    pods = (mapping_at(each, "spec", "template", "spec") for each in workloads)
    return [text_at(container, "image") for pod in pods for container in mappings_at(pod, "containers")]


async def _webhook_unavailable(client: KubeClient, webhook: Mapping[str, Any] | None, *, missing: bool) -> str:
    """Why Gatekeeper judges no request; empty where there is no sign of that."""
    if missing:
        return f"{WEBHOOK_NAME} is missing: nothing is denied; install Gatekeeper's manifest or chart again"
    hooks = mappings_at(webhook, "webhooks")
    if webhook is not None and not hooks:
        return f"{WEBHOOK_NAME} has no webhook: nothing is denied; install Gatekeeper's manifest or chart again"
    return await unanswered(client, hooks)


async def unanswered(client: KubeClient, hooks: Iterable[Mapping[str, Any]]) -> str:
    """Why a call of these webhooks would get no answer; empty where there is no sign of that."""
    for namespace, name in sorted(called_services(hooks)):
        if namespace == GATEKEEPER_NAMESPACE and not await _has_endpoints(client, name):
            return f"service {name} has no ready endpoint: no Gatekeeper pod answers; look at {namespace}"
    return ""


def called_services(hooks: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Namespaces and names of the Services that webhooks call."""
    services = (mapping_at(hook, "clientConfig", "service") for hook in hooks)
    return {(text_at(service, "namespace"), text_at(service, "name")) for service in services if service}


async def _has_endpoints(client: KubeClient, service: str) -> bool:
    path = f"/apis/discovery.k8s.io/v1/namespaces/{GATEKEEPER_NAMESPACE}/endpointslices"
    query = {"labelSelector": f"kubernetes.io/service-name={service}"}
    response = await client.request("GET", path, query=query)
    if not response.ok:
        return True
    ready = (
        mapping_at(endpoint, "conditions").get("ready", True)
        for each in mappings_at(response.body, "items")
        for endpoint in mappings_at(each, "endpoints")
    )
    return any(ready)
