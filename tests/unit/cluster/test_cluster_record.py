"""The cluster's id, recorded in the cluster: of a declared one as of a real one."""

from __future__ import annotations

import re

import pytest

from controller.cluster.changes import Create, Plan
from controller.cluster.cluster_record import ClusterRecord
from controller.errors import Refused
from tests.unit.cluster_builders import CLUSTER_ID, MARKS, constraint
from tests.unit.fake_api import FakeApi

DECLARED = "/subscriptions/s/resourceGroups/g/providers/azpolicy.dev/managedClusters/web"


async def test_a_declared_cluster_is_recorded_and_refused_under_the_id_of_a_real_one() -> None:
    api = FakeApi()
    await ClusterRecord(api, MARKS).make(Plan(DECLARED, (Create(constraint()),)))

    assert (await ClusterRecord(api, MARKS).check(DECLARED.upper())).cluster_id == DECLARED
    said = f"is recorded as {DECLARED} (declared, no resource in Azure), not {CLUSTER_ID}: "
    with pytest.raises(Refused, match=re.escape(said)):
        await ClusterRecord(api, MARKS).check(CLUSTER_ID)
