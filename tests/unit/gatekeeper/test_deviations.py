"""What the bundle decides otherwise than Azure's templates, read from its file and told where it concerns a cluster."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from controller.gatekeeper.deviations import FILE, Change, Deviations, Newly, read_deviations
from controller.gatekeeper.model import DesiredObject, Role
from controller.gatekeeper.naming import OwnershipMarks
from controller.gatekeeper.sources import STORE_HOSTS, bundle_root

if TYPE_CHECKING:
    from pathlib import Path

ALPHA = Change("D1", Newly.DENIED, "an alpha")
DOCUMENT = {
    "deviations": [
        {
            "id": "D1",
            "changes": [
                {"template": "alpha/v1", "newly": "denied", "what": "an alpha"},
                {"template": "beta", "newly": "admitted", "what": "a beta"},
            ],
        },
        {"id": "D2", "changes": [{"template": "alpha/v1", "newly": "denied", "what": "unseen", "offline": True}]},
    ],
    "unverified": [{"template": "gamma/v2", "follows": "alpha"}],
}


@pytest.fixture
def read(tmp_path: Path) -> Deviations:
    (tmp_path / FILE).write_text(json.dumps(DOCUMENT))
    return read_deviations(tmp_path)


def template(url: str, origin: str = "bundle") -> DesiredObject:
    annotations = OwnershipMarks().template_annotations(["d"], url=url, origin=origin, digest="0" * 8)
    manifest: dict[str, Any] = {
        "apiVersion": "templates.gatekeeper.sh/v1",
        "kind": "ConstraintTemplate",
        "metadata": {"name": "k8sthing", "annotations": annotations},
    }
    return DesiredObject.of(Role.TEMPLATE, manifest, ())


def test_what_a_cluster_cannot_see_is_left_out(read: Deviations) -> None:
    assert read.changes == {"alpha/v1": (ALPHA,), "beta": (Change("D1", Newly.ADMITTED, "a beta"),)}


@pytest.mark.parametrize("host", STORE_HOSTS)
def test_a_template_of_the_bundle_is_known_by_its_address_on_each_store(read: Deviations, host: str) -> None:
    assert read.of(template(f"https://{host}/kubernetes/alpha/v1/template.yaml")) == (ALPHA,)


def test_the_oldest_templates_have_no_version(read: Deviations) -> None:
    url = (
        "https://raw.githubusercontent.com/Azure/azure-policy/master/built-in-references/Kubernetes/beta/template.yaml"
    )

    assert [change.newly for change in read.of(template(url))] == [Newly.ADMITTED]


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        (f"https://{STORE_HOSTS[0]}/kubernetes/alpha/v1/template.yaml", "url"),
        (f"https://{STORE_HOSTS[0]}/kubernetes/alpha/v1/template.yaml", "mirror"),
        (f"https://{STORE_HOSTS[0]}/kubernetes/alpha/v2/template.yaml", "bundle"),
        ("https://example.com/kubernetes/alpha/v1/template.yaml", "bundle"),
        ("", "base64"),
    ],
)
def test_another_template_deviates_in_nothing(read: Deviations, url: str, origin: str) -> None:
    assert read.of(template(url, origin)) == ()


def test_a_template_that_azure_never_published_is_unverified_in_the_bundle_alone(read: Deviations) -> None:
    url = f"https://{STORE_HOSTS[0]}/kubernetes/gamma/v2/template.yaml"

    assert read.is_unverified(template(url))
    assert not read.is_unverified(template(url, "url"))


def test_a_change_says_its_direction_its_id_and_what_it_is_about() -> None:
    assert str(ALPHA) == "newly denied (D1): an alpha"


def test_the_bundle_has_its_deviations() -> None:
    found = read_deviations(bundle_root())

    assert found.changes
    assert len(found.unverified) == 14
