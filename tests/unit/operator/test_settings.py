"""The PolicySync over the environment over the default, and what it asks for now and then."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.azure.declared import DeclaredCluster
from controller.cluster.kinds import POLICY_SYNC, LiveObject
from controller.cluster.prune import PruneLimit
from controller.cluster.report_objects import OPEN_REPORTS, POLICY_REPORTS
from controller.config import AzureOptions, SourceOptions
from controller.errors import InputError
from controller.gatekeeper.expansion import Expansion
from controller.gatekeeper.naming import OwnershipMarks
from controller.operator.settings import Pace, PolicySyncRequests, Settings, requests_of, settings_of

AZURE = AzureOptions("public", "", "", "", "", "azure-cli", ())
SOURCE = SourceOptions(None, AZURE, "/subscriptions/base", "bundle", (), (), None, OwnershipMarks(), ())
BASE = Settings(SOURCE, Pace(900, 300), PruneLimit(30, forced=True))


def policy_sync(spec: dict[str, Any], **annotations: str) -> LiveObject:
    metadata = {"name": "default", "uid": "u", "generation": 7, "annotations": annotations}
    return LiveObject.of(POLICY_SYNC, {"metadata": metadata, "spec": spec})


def test_without_a_policy_sync_or_with_an_empty_one_all_is_the_environments() -> None:
    assert settings_of(None, BASE) == settings_of(policy_sync({}), BASE) == BASE


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"interval": "1h30m"}, replace(BASE, pace=Pace(5400, 300))),
        ({"resync": "90s"}, replace(BASE, pace=Pace(900, 90))),
        ({"pruneLimit": 0}, replace(BASE, limit=PruneLimit(0, forced=True))),
        ({"clusterId": "/subscriptions/x"}, replace(BASE, source=replace(SOURCE, cluster_id="/subscriptions/x"))),
        (
            {"declaredCluster": {"scope": "/subscriptions/x", "name": "kind"}},
            replace(
                BASE, source=replace(SOURCE, cluster_id=None, declared=DeclaredCluster("/subscriptions/x", "kind"))
            ),
        ),
        ({"templates": "url"}, replace(BASE, source=replace(SOURCE, templates="url"))),
        (
            {"source": {"kind": "Snapshot", "path": "/s"}},
            replace(BASE, source=replace(SOURCE, snapshot=Path("/s"))),
        ),
        ({"reports": "wgpolicy"}, replace(BASE, reports=POLICY_REPORTS)),
        (
            {"cloud": "china"},
            replace(BASE, source=replace(SOURCE, azure=replace(AZURE, cloud="china"))),
        ),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else "",
)
def test_each_field_that_is_set_replaces_its_part(spec: dict[str, Any], wanted: Settings) -> None:
    assert settings_of(policy_sync(spec), BASE) == wanted


def test_a_declared_cluster_is_the_policy_syncs_alone_tags_and_all() -> None:
    base = replace(BASE, source=replace(SOURCE, cluster_id=None, declared=DeclaredCluster("/subscriptions/x", "kind")))
    told = {"scope": "/subscriptions/y", "name": "eks", "type": "managedClusters", "location": "northeurope"}

    made = settings_of(policy_sync({"declaredCluster": told | {"tags": {"b": "2", "a": "1"}}}), base).source

    tags = (("a", "1"), ("b", "2"))
    assert made.declared == DeclaredCluster("/subscriptions/y", "eks", "managedClusters", "northeurope", tags)
    assert made.asked_id == "/subscriptions/y/providers/azpolicy.dev/managedClusters/eks"


def test_a_cluster_that_a_policy_sync_names_replaces_one_that_the_environment_declares() -> None:
    base = replace(BASE, source=replace(SOURCE, cluster_id=None, declared=DeclaredCluster("/subscriptions/x", "kind")))

    made = settings_of(policy_sync({"clusterId": "/subscriptions/named"}), base).source

    assert (made.cluster_id, made.declared) == ("/subscriptions/named", None)
    assert settings_of(policy_sync({}), base) == base


def test_azure_as_the_source_wins_over_a_snapshot_of_the_environment() -> None:
    base = replace(BASE, source=replace(SOURCE, snapshot=Path("/from-the-environment")))

    made = settings_of(policy_sync({"source": {"kind": "Azure"}}), base)

    assert made.source.snapshot is None


def test_an_expansion_that_is_none_is_named_with_what_it_may_be() -> None:
    assert settings_of(policy_sync({"expansion": "all"}), BASE).source.expansion is Expansion.ALL
    with pytest.raises(InputError, match=r"spec\.expansion: 'some' is none of assigned, off, all"):
        settings_of(policy_sync({"expansion": "some"}), BASE)


@pytest.mark.parametrize("field", ["interval", "resync"])
def test_a_setting_that_is_no_duration_is_named_with_its_field(field: str) -> None:
    with pytest.raises(InputError, match=rf"PolicySync default: spec\.{field} 'soon' is not a duration"):
        settings_of(policy_sync({field: "soon"}), BASE)


def test_what_a_policy_sync_asks_for_is_read_from_its_annotations_and_suspension() -> None:
    until = "2026-03-01T12:00:00+02:00"
    asked = {"azpolicy.dev/requested-at": "now", "azpolicy.dev/force-prune": "abc", "other": "x"}

    requests = requests_of(policy_sync({"suspend": {"until": until, "reason": "an upgrade"}}, **asked))

    assert requests == PolicySyncRequests(7, "now", "abc", datetime(2026, 3, 1, 10, tzinfo=UTC), "an upgrade")
    assert requests.suspension == "suspended until 2026-03-01T10:00:00Z: an upgrade"
    assert requests_of(None) == PolicySyncRequests()


def test_a_suspension_ends_at_its_end() -> None:
    end = datetime(2026, 3, 1, 10, tzinfo=UTC)
    requests = PolicySyncRequests(suspended_until=end)

    assert requests.suspended(end - timedelta(microseconds=1))
    assert not requests.suspended(end)
    assert not PolicySyncRequests().suspended(end)


def test_a_suspension_without_an_end_that_is_a_time_is_none() -> None:
    assert requests_of(policy_sync({"suspend": {"until": "for ever"}})).suspended_until is None


def test_reports_can_be_switched_off_by_the_policy_sync_and_not_to_what_is_no_api() -> None:
    base = replace(BASE, reports=OPEN_REPORTS)

    assert settings_of(policy_sync({"reports": "none"}), base) == BASE
    with pytest.raises(InputError, match="'kyverno' is none of none, openreports, wgpolicy"):
        settings_of(policy_sync({"reports": "kyverno"}), base)
