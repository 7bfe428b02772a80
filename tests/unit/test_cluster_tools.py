"""Which programs a test cluster is made of: those that are there already, else those that are built."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.cluster.harness import HarnessError, tools

if TYPE_CHECKING:
    from pathlib import Path


def folder_with(place: Path, *programs: str) -> Path:
    """A folder with these programs, which do nothing."""
    place.mkdir()
    for name in programs:
        (place / name).write_text("#!/bin/sh\n")
        (place / name).chmod(0o755)
    return place


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No control plane of whoever runs the tests."""
    monkeypatch.delenv(tools.ASSETS, raising=False)
    monkeypatch.setenv("PATH", "")


def test_the_control_plane_of_kubebuilder_assets_is_used_before_that_of_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assets = folder_with(tmp_path / "assets", "etcd", "kube-apiserver", "kubectl")
    path = folder_with(tmp_path / "path", "etcd", "kube-apiserver", "kube-controller-manager")
    monkeypatch.setenv("PATH", str(path))
    assert [tools.provided(name) for name in tools.CONTROL_PLANE] == [path / "etcd", path / "kube-apiserver"]

    monkeypatch.setenv(tools.ASSETS, str(assets))

    found = {name: tools.provided(name) for name in tools.CLUSTER_TOOLS}
    assert found == {
        "etcd": assets / "etcd",
        "kube-apiserver": assets / "kube-apiserver",
        "kubectl": assets / "kubectl",
        "kube-controller-manager": None,
        "gatekeeper": None,
    }


def test_half_a_control_plane_on_the_path_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder_with(tmp_path / "path", "kube-apiserver", "kubectl")))

    assert [tools.provided(name) for name in tools.CLUSTER_TOOLS] == [None] * len(tools.CLUSTER_TOOLS)


def test_tools_that_are_pinned_here_are_never_those_of_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(folder_with(tmp_path / "path", *tools.TOOLS)))

    assert {name for name in tools.TOOLS if tools.provided(name)} == {
        "etcd", "kube-apiserver", "kube-controller-manager", "kubectl"
    }  # fmt: skip


def test_assets_without_a_control_plane_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tools.ASSETS, str(folder_with(tmp_path / "assets", "etcd")))

    with pytest.raises(HarnessError, match=r"^KUBEBUILDER_ASSETS names .*/assets, which has no kube-apiserver: "):
        tools.path("etcd")


def test_it_is_said_what_is_used_what_is_built_and_how_long_that_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assets = folder_with(tmp_path / "assets", "etcd", "kube-apiserver")
    monkeypatch.setenv(tools.ASSETS, str(assets))
    monkeypatch.setenv("AZPOLICY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)

    used, built = tools.announced(tools.CLUSTER_TOOLS, ["kubectl", "gatekeeper"])

    assert used == (
        f"etcd, kube-apiserver: not built, those that KUBEBUILDER_ASSETS names are used ({assets / 'etcd'})"
    )
    assert built == (
        "the first time this builds kubectl, gatekeeper from Go modules: about 7 minutes on this machine's 2 cores, "
        f"more where downloads are slow; later runs find them in {tmp_path / 'cache'}"
    )


def test_nothing_is_said_where_all_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZPOLICY_CACHE", "/nowhere")

    assert list(tools.announced(tools.CLUSTER_TOOLS, [])) == []
