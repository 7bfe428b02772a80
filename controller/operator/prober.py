"""Proves that Gatekeeper enforces: the probe's object is asked for by a dry run, and must be refused.

| answer                                  | what is concluded                                                      |
|-----------------------------------------|------------------------------------------------------------------------|
| denied by the probe's constraint        | proven, until the next probe                                           |
| admitted, three times in a row          | not enforced; unless the namespace of the probe is exempt: not known   |
| admitted, once or twice                 | nothing yet: a new Gatekeeper pod may still be loading its constraints |
| anything else                           | not known, with the words of the API server                            |

While nothing changes there is one probe a minute. A dry run writes nothing, whatever becomes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from controller.cluster.foreign import mappings_at, text_at, texts_at
from controller.cluster.health import (
    NAMESPACES,
    NOBODYS,
    WEBHOOK_PATH,
    GatekeeperHealth,
    GatekeeperProblem,
    selects_namespace,
)
from controller.cluster.readiness import Ready, constraint_verdict
from controller.cluster.webhooks import VALIDATION, judge
from controller.gatekeeper.naming import FIELD_MANAGER, GATEKEEPER_NAMESPACE
from controller.gatekeeper.probe import CONSTRAINT_REF, is_probes_denial, probed_object
from controller.times import loop_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.cluster.client import KubeClient
    from controller.cluster.kinds import LiveObject
    from controller.gatekeeper.model import ObjectRef

PROBE_SECONDS: Final = 60.0
SURE: Final = 3
CONFIG: Final = f"/apis/config.gatekeeper.sh/v1alpha1/namespaces/{GATEKEEPER_NAMESPACE}/configs/config"
_PROCESSES: Final = frozenset({"*", "webhook"})
_LOOKED_AT: Final = 500
_PROBED: Final = ("", "ConfigMap")
_ADVICE: Final = (
    "look for matchConditions, a changed clientConfig or caBundle of the webhook, and excludedNamespaces in "
    "Gatekeeper's Config"
)


@dataclass(frozen=True, slots=True)
class Proof:
    """What is known of the enforcement: `enforcing` None where nothing is. `webhook` is the content it holds for."""

    enforcing: bool | None = None
    message: str = ""
    webhook: str = ""


class Prober:
    """Probes in a namespace, as often as its looks and the time since the last probe ask for."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._accepted = False
        self._admitted = 0
        self._webhook = ""
        self._due_at = 0.0
        self.proof = Proof()

    def seen(self, ref: ObjectRef, live: LiveObject | None) -> None:
        """An object as it is now: notes whether Gatekeeper says that it enforces the probe's constraint."""
        if ref == CONSTRAINT_REF:
            self._accepted = live is not None and not live.deleting and isinstance(constraint_verdict(live), Ready)

    def reset(self) -> None:
        """Nothing is known any more: probing is off, or Gatekeeper is known not to be asked."""
        self._admitted, self._due_at, self._webhook, self.proof = 0, 0.0, "", Proof()

    async def look(self, health: GatekeeperHealth) -> GatekeeperHealth:
        """Probes if that is due; the health with what follows. ClusterError when the API server cannot be asked."""
        changed, self._webhook = health.webhook != self._webhook, health.webhook
        if changed:
            # The API servers take a moment to see a new configuration: an answer now may be by the old one.
            self._admitted, self._due_at = 0, 0.0
            self.proof = self.proof if self.proof.enforcing is False else Proof()
        elif loop_time() >= self._due_at:
            await self._probe(health.webhook)
        return self._with_proof(health)

    async def _probe(self, webhook: str) -> None:
        message = await self._ask()
        if message is None:
            await self._was_admitted(webhook)
        elif is_probes_denial(message):
            self._admitted = 0
            self.proof = Proof(True, "a probe was denied, so constraints are enforced", webhook)
            self._due_at = loop_time() + PROBE_SECONDS
        else:
            self.proof = Proof(None, f"enforcement could not be probed: {message}")
            self._due_at = loop_time() + PROBE_SECONDS

    async def _ask(self) -> str | None:
        """The words of the refusal, None where the object was admitted: one that is there already was, too."""
        path = f"{NAMESPACES}/{self._namespace}/configmaps"
        query = {"dryRun": "All", "fieldManager": FIELD_MANAGER}
        response = await self._client.request("POST", path, query=query, body=probed_object(self._namespace))
        return None if response.ok or response.status == HTTPStatus.CONFLICT else response.message

    async def _was_admitted(self, webhook: str) -> None:
        # A constraint that Gatekeeper has not taken up yet denies nothing, and says so itself.
        self._admitted = self._admitted + 1 if self._accepted else 0
        if self.proof.enforcing and not self._accepted:
            self.proof = Proof()
        self._due_at = 0.0
        if self._admitted < SURE:
            return
        exempt = await self._exempt()
        if exempt:
            self.proof = Proof(None, f"enforcement cannot be probed in namespace {self._namespace}: {exempt}")
            self._due_at = loop_time() + PROBE_SECONDS
        else:
            message = (
                f"a dry run of ConfigMap {self._namespace}/{CONSTRAINT_REF.name} was admitted, though {CONSTRAINT_REF} "
                f"denies it and Gatekeeper says that it enforces that: nothing is denied; {_ADVICE}"
            )
            self.proof = Proof(False, message, webhook)

    async def _exempt(self) -> str:
        """Why Gatekeeper lets this namespace alone and not the others; empty where that is not so."""
        configuration = await self._client.get(WEBHOOK_PATH) or {}
        judged = judge(configuration, VALIDATION, [_PROBED])
        if judged.uncovered:
            return "the webhook's rules do not cover ConfigMaps"
        if await selects_namespace(self._client, judged, self._namespace) is False:
            return "the webhook's namespaceSelector leaves it out"
        excluded = _excluded(await self._read(CONFIG))
        if not _fits(self._namespace, excluded):
            return ""
        listed = await self._read(NAMESPACES, limit=str(_LOOKED_AT))
        names = [text_at(each, "metadata", "name") for each in mappings_at(listed, "items")]
        others = [each for each in names if each not in NOBODYS and not _fits(each, excluded)]
        return "Gatekeeper's Config excludes it" if others or not names else ""

    async def _read(self, path: str, **query: str) -> Mapping[str, Any]:
        """What is there, empty where there is nothing or it may not be read."""
        response = await self._client.request("GET", path, query=query)
        if not response.ok and response.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN):
            raise response.error(f"reading {path}")
        return response.body if response.ok else {}

    def _with_proof(self, health: GatekeeperHealth) -> GatekeeperHealth:
        if self.proof.enforcing is False:
            return GatekeeperHealth(GatekeeperProblem.NOT_ENFORCING, self.proof.message, health.webhook)
        message = "; ".join(filter(None, (health.message, self.proof.message)))
        return GatekeeperHealth(message=message, webhook=health.webhook)


def _excluded(config: Mapping[str, Any]) -> list[str]:
    """The namespaces that Gatekeeper's Config keeps from its webhook; each may begin or end with `*`.

    https://open-policy-agent.github.io/gatekeeper/website/docs/exempt-namespaces
    """
    entries = mappings_at(config, "spec", "match")
    return [
        name
        for entry in entries
        if not _PROCESSES.isdisjoint(texts_at(entry, "processes"))
        for name in texts_at(entry, "excludedNamespaces")
    ]


def _fits(name: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
