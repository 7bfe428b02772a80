"""Whether Gatekeeper is there, new enough, and asked by the API server: without it no policy is enforced.

Reads only, and only what the chart's Role allows; what may not be read is taken to be well. What its webhooks'
configurations say is judged in `controller.cluster.webhooks`; whether it enforces is proven by the probe.
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
from controller.cluster.webhooks import (
    MUTATION,
    VALIDATION,
    Judged,
    Webhook,
    admitted_kinds,
    content,
    judge,
    mutated_kinds,
    without_namespaces,
)
from controller.gatekeeper.label_selectors import query
from controller.gatekeeper.manifests import SYSTEM_NAMESPACES
from controller.gatekeeper.match_notes import NAMESPACE_NAME
from controller.gatekeeper.naming import GATEKEEPER_NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from controller.cluster.client import KubeClient, Response
    from controller.gatekeeper.model import DesiredObject

_ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"
WEBHOOK_NAME: Final = "gatekeeper-validating-webhook-configuration"
WEBHOOK_PATH: Final = f"{_ADMISSION}/validatingwebhookconfigurations/{WEBHOOK_NAME}"
MUTATING_NAME: Final = "gatekeeper-mutating-webhook-configuration"
MUTATING_PATH: Final = f"{_ADMISSION}/mutatingwebhookconfigurations/{MUTATING_NAME}"
NAMESPACES: Final = "/api/v1/namespaces"
# Kubernetes' own, which no policy of Azure is for, and those that every constraint of ours leaves out.
NOBODYS: Final = frozenset({"kube-system", "kube-public", "kube-node-lease", *SYSTEM_NAMESPACES})
DEPLOYMENTS: Final = f"/apis/apps/v1/namespaces/{GATEKEEPER_NAMESPACE}/deployments"
OLDEST: Final = (3, 17)
_SYSTEM: Final = {"labelSelector": "gatekeeper.sh/system=yes"}
_VERSION: Final = re.compile(r":v?(\d+)\.(\d+)\.\d+[^/@]*(@|$)")


class GatekeeperProblem(StrEnum):
    """What is wrong with Gatekeeper; the value is the condition's reason."""

    MISSING = "GatekeeperMissing"
    TOO_OLD = "GatekeeperTooOld"
    WEBHOOK_UNAVAILABLE = "WebhookUnavailable"
    WEBHOOK_INCOMPLETE = "WebhookIncomplete"
    NOT_ENFORCING = "NotEnforcing"


@dataclass(frozen=True, slots=True)
class GatekeeperHealth:
    """How Gatekeeper is; `problem` None where nothing speaks against it, and then `message` is what is worth knowing.

    `webhook` is a digest of its validating configuration's content, empty where that was not read.
    """

    problem: GatekeeperProblem | None = None
    message: str = ""
    webhook: str = ""


async def gatekeeper_health(client: KubeClient, desired: Sequence[DesiredObject] = ()) -> GatekeeperHealth:
    """Asks the cluster about Gatekeeper, which `desired` is to be enforced by; ClusterError when it cannot be asked."""
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
    seen = content(webhook.body) if webhook.ok else ""
    if away := await _webhook_unavailable(
        client, webhook.body if webhook.ok else None, missing=webhook.status == HTTPStatus.NOT_FOUND
    ):
        return GatekeeperHealth(GatekeeperProblem.WEBHOOK_UNAVAILABLE, away, seen)
    judged = judge(webhook.body, VALIDATION, admitted_kinds(desired)) if webhook.ok else Judged()
    if problem := judged.problem(WEBHOOK_NAME, VALIDATION):
        return GatekeeperHealth(GatekeeperProblem.WEBHOOK_INCOMPLETE, problem, seen)
    if nothing := await _selects_nothing(client, judged, VALIDATION):
        return GatekeeperHealth(GatekeeperProblem.NOT_ENFORCING, nothing, seen)
    if problem := await _no_mutation(client, mutated_kinds(desired)):
        return GatekeeperHealth(GatekeeperProblem.WEBHOOK_INCOMPLETE, problem, seen)
    if old := too_old(_images(mappings_at(workloads.body, "items"))):
        message = f"Gatekeeper {old} is older than {OLDEST[0]}.{OLDEST[1]}, the oldest that is supported: upgrade it"
        return GatekeeperHealth(GatekeeperProblem.TOO_OLD, message, seen)
    return GatekeeperHealth(message="; ".join(judged.facts), webhook=seen)


async def _no_mutation(client: KubeClient, kinds: Collection[tuple[str, str]]) -> str:
    """Why kinds that mutators change would not be mutated; empty where there is no sign of that."""
    if not kinds:
        return ""
    mutating = await client.request("GET", MUTATING_PATH)
    if mutating.status == HTTPStatus.NOT_FOUND:
        return f"{MUTATING_NAME} is missing: nothing is mutated; install Gatekeeper's manifest or chart again"
    if not _may_be_judged(mutating, "asking about Gatekeeper's mutation"):
        return ""
    judged = judge(mutating.body, MUTATION, kinds)
    return judged.problem(MUTATING_NAME, MUTATION) or await _selects_nothing(client, judged, MUTATION)


async def _selects_nothing(client: KubeClient, judged: Judged, hook: Webhook) -> str:
    """Whether no namespace that policies are for fits the selector: the server knows, and one would do."""
    if judged.selector is None:
        return ""
    if await selects(client, without_namespaces(judged.selector, NOBODYS)) is not False:
        return ""
    return (
        f"the namespaceSelector of {hook.name} ({query(judged.selector)}) fits no namespace but the system's, so "
        f"nothing {hook.loss}; correct the selector, or label the namespaces"
    )


async def selects(client: KubeClient, selector: Mapping[str, Any]) -> bool | None:
    """Whether any namespace fits a selector; None where that may not be asked."""
    response = await client.request("GET", NAMESPACES, query={"labelSelector": query(selector), "limit": "1"})
    if not _may_be_judged(response, "looking for namespaces"):
        return None
    # Where a page ends early, more may follow.
    return bool(mappings_at(response.body, "items") or text_at(response.body, "metadata", "continue"))


async def selects_namespace(client: KubeClient, judged: Judged, name: str) -> bool | None:
    """Whether the API server asks about objects of a namespace; None where that may not be asked."""
    if judged.selector is None:
        return True
    named = {"key": NAMESPACE_NAME, "operator": "In", "values": [name]}
    expressions = [*mappings_at(judged.selector, "matchExpressions"), named]
    return await selects(client, {**judged.selector, "matchExpressions": expressions})


def _may_be_judged(response: Response, doing: str) -> bool:
    """False where it may not be read; ClusterError for an answer that says nothing."""
    if not response.ok and response.status not in (HTTPStatus.FORBIDDEN, HTTPStatus.BAD_REQUEST):
        raise response.error(doing)
    return response.ok


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
