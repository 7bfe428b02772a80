"""From what Azure says to what the cluster should hold: resolve, fetch, translate, in this order and nowhere else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from controller.azure.model import fold
from controller.gatekeeper.expansion import Expansion
from controller.gatekeeper.sources import wanted_documents
from controller.gatekeeper.translate import translate
from controller.policy.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from controller.azure.model import AzureState
    from controller.gatekeeper.model import DesiredState
    from controller.gatekeeper.naming import OwnershipMarks, RunningTemplate
    from controller.gatekeeper.sources import TemplateProvider
    from controller.gatekeeper.syncset import InventoryKinds

_ASSIGNMENT: Final = "/policyassignments/"


async def desired_state(
    state: AzureState,
    provider: TemplateProvider,
    *,
    now: datetime,
    marks: OwnershipMarks,
    excluded_namespaces: tuple[str, ...] = (),
    running: Mapping[str, RunningTemplate] | None = None,
    inventory: InventoryKinds | None = None,
    expansion: Expansion = Expansion.ASSIGNED,
) -> DesiredState:
    """The desired state at `now` (aware UTC); other arguments are those of `translate`.

    Resolving and translating are pure and take a thread each, so that the event loop serves the lease and probes
    meanwhile, however much work a policy makes.
    """
    resolutions = await asyncio.to_thread(resolve, state, now)
    documents = await provider.fetch(wanted_documents(resolutions))
    unreadable = {resource_id for resource_id in state.unreadable if _ASSIGNMENT in resource_id}
    return await asyncio.to_thread(
        translate,
        resolutions,
        documents,
        cluster_id=state.cluster.id,
        marks=marks,
        excluded_namespaces=excluded_namespaces,
        listed=frozenset({fold(assignment.id) for assignment in state.assignments} | unreadable),
        gone=state.gone,
        running=running,
        inventory=inventory,
        expansion=expansion,
    )
