"""A running pod as admission saw it: what came later is taken away, what admission added stays."""

from __future__ import annotations

from typing import Any

from controller.forecast.live_pods import as_created, is_made_from

CONTROLLER = {
    "manager": "kube-controller-manager",
    "fieldsV1": {"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:containers": {}}},
}


def pod(*managers: dict[str, Any], labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "web-1",
            "namespace": "shop",
            "uid": "u",
            "resourceVersion": "7",
            "labels": labels or {"app": "web"},
            "managedFields": [CONTROLLER, *managers],
        },
        "spec": {"containers": [{"name": "c"}], "nodeName": "n", "volumes": [{"name": "kube-api-access-x"}]},
        "status": {"phase": "Running"},
    }


def labelled_by_hand(key: str) -> dict[str, Any]:
    return {"manager": "kubectl-label", "fieldsV1": {"f:metadata": {"f:labels": {f"f:{key}": {}}}}}


def test_what_the_cluster_has_set_since_is_gone_and_what_admission_added_is_there() -> None:
    kubelet = {"manager": "kubelet", "subresource": "status", "fieldsV1": {"f:status": {}}}

    made = as_created(pod(kubelet))

    assert made == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "shop", "uid": "u", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c"}], "volumes": [{"name": "kube-api-access-x"}]},
    }


def test_a_label_that_somebody_set_by_hand_is_not_on_the_next_pod() -> None:
    made = as_created(pod(labelled_by_hand("owner"), labels={"app": "web", "owner": "me"}))

    assert made
    assert made["metadata"]["labels"] == {"app": "web"}


def test_a_label_that_somebody_overwrote_is_as_in_the_template() -> None:
    template = {"metadata": {"labels": {"app": "web", "owner": "team"}}}

    made = as_created(pod(labelled_by_hand("owner"), labels={"app": "web", "owner": "me"}), template)

    assert made
    assert made["metadata"]["labels"] == {"app": "web", "owner": "team"}


def test_a_pod_whose_spec_was_edited_proves_nothing() -> None:
    edit = {"manager": "kubectl-set", "fieldsV1": {"f:spec": {"f:containers": {'k:{"name":"c"}': {"f:image": {}}}}}}

    assert as_created(pod(edit)) is None


def test_a_pod_is_made_from_a_template_that_it_has_all_of() -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    sidecar = {"name": "mesh", "image": "y"}
    injected = {
        "metadata": {"labels": {"a": "b", "hash": "1"}},
        "spec": {"containers": [sidecar, {"name": "c", "image": "x", "env": []}]},
    }

    assert is_made_from(template, injected)
    assert not is_made_from({**template, "metadata": {"labels": {"a": "c"}}}, injected)
    assert not is_made_from({**template, "spec": {"containers": [{"name": "c", "image": "z"}]}}, injected)
