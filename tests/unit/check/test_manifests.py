"""What `azpolicy check` reads: all that kubectl takes, with the line of each object; and whatever else may come."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from controller.check.manifests import read_manifests
from controller.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n"


def read(folder: Path, text: str, name: str = "app.yaml") -> list[tuple[int, str, str]]:
    """Line, kind and name of each object of a file."""
    file = folder / name
    file.write_text(text)
    return [(m.location.line, m.kind, m.name) for m in read_manifests([str(file)]).manifests]


def test_each_document_of_a_file_has_its_line(tmp_path: Path) -> None:
    text = f"# a comment\n{POD}---\n---\n# another\n{POD.replace('web', 'two')}"

    assert read(tmp_path, text) == [(2, "Pod", "web"), (8, "Pod", "two")]


def test_lists_of_any_kind_are_opened_and_their_items_have_their_lines(tmp_path: Path) -> None:
    text = (
        "apiVersion: v1\nkind: List\nitems:\n"
        "- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n"
        "- apiVersion: v1\n  kind: ServiceList\n  items:\n"
        "  - {apiVersion: v1, kind: Service, metadata: {name: b}}\n"
    )

    assert read(tmp_path, text) == [(4, "Pod", "a"), (7, "Service", "b")]


def test_json_is_read_with_tabs_too(tmp_path: Path) -> None:
    text = '{\n\t"apiVersion": "v1",\n\t"kind": "Pod",\n\t"metadata": {"name": "web"}\n}'

    assert read(tmp_path, text, "app.json") == [(1, "Pod", "web")]


def test_anchors_merge_keys_and_keys_that_are_numbers_are_taken_as_kubectl_takes_them(tmp_path: Path) -> None:
    text = f"{POD}x: &x {{a: 1, b: 2}}\ny: {{<<: *x, b: 3, 8080: no}}\n"
    file = tmp_path / "app.yaml"
    file.write_text(text)

    [manifest] = read_manifests([str(file)]).manifests

    assert manifest.content["y"] == {"a": 1, "b": 3, "8080": False}


def test_a_folder_is_read_at_every_depth_in_order_without_what_is_hidden(tmp_path: Path) -> None:
    for location in ("b.yaml", "a/deep/c.yml", "d.json", ".git/e.yaml", "a/.f.yaml", "note.txt"):
        file = tmp_path / location
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}')

    read_files = [m.location.file for m in read_manifests([str(tmp_path)]).manifests]

    assert [file.removeprefix(f"{tmp_path}/") for file in read_files] == ["a/deep/c.yml", "b.yaml", "d.json"]


def test_what_is_no_kubernetes_object_is_passed_over_in_a_folder_and_an_error_in_a_file(tmp_path: Path) -> None:
    read(tmp_path, POD)
    (tmp_path / "values.yaml").write_text("replicas: 2\n")

    reading = read_manifests([str(tmp_path)])

    assert (len(reading.manifests), [str(p) for p in reading.passed_over]) == (1, [f"{tmp_path}/values.yaml:1"])
    with pytest.raises(InputError, match=r"values.yaml:1: it is not a Kubernetes object"):
        read_manifests([str(tmp_path / "values.yaml")])


def test_an_input_without_any_object_is_an_error_as_nothing_was_checked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no Kubernetes object in it"):
        read_manifests([str(tmp_path)])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{POD}---\na: b: c\n", 5),
        (f"{POD}kind: Service\n", 4),
        (f"{POD}x: !Ref y\n", 4),
        (f"{POD}x: *nowhere\n", 4),
        (f"{POD}? [a]\n: b\n", 4),
        ("[" * 100_000, 1),
        ("a: &a [*a]\n", 1),
        ("a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 3000)), 201),
        ("a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)), 7),
        (POD.replace("{name: web}", "web"), 1),
        (POD.replace("name: web", "name: 1"), 1),
        (POD.replace("name: web", "labels: {a: 1}"), 1),
    ],
    ids=[
        "broken",
        "key twice",
        "tag",
        "alias of nothing",
        "key that is a list",
        "deep",
        "endless",
        "deep aliases",
        "page of aliases",
        "metadata",
        "name",
        "labels",
    ],
)
def test_what_cannot_be_read_is_named_with_file_and_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(InputError, match=rf"app\.yaml:{line}: "):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "text", ["metadata:\n  name: {{ .Release.Name }}\n", "{{- if .Values.on }}\na: b\n{{- end }}\n"]
)
def test_a_helm_template_is_known_as_one_and_the_way_to_check_it_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"looks like a Helm template: .*helm template"):
        read(tmp_path, text)


def test_braces_in_text_are_no_helm_template(tmp_path: Path) -> None:
    assert read(tmp_path, f'{POD}data: "{{{{ $labels.pod }}}} is down"\n') == [(1, "Pod", "web")]


def test_what_cannot_be_opened_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml cannot be read"):
        read_manifests([str(tmp_path / "nowhere.yaml")])
    (tmp_path / "app.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"app\.yaml: it is not UTF-8"):
        read_manifests([str(tmp_path / "app.yaml")])


def review(operation: str = "CREATE", **request: Any) -> dict[str, Any]:
    asked = {"uid": "u", "operation": operation, **request}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}


def test_of_a_review_the_object_is_read_that_it_asks_to_admit(tmp_path: Path) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}}
    reviews = [review(object=pod, namespace="shop"), review(object={**pod, "metadata": {"namespace": "own"}})]
    file = tmp_path / "reviews.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": reviews}))

    reading = read_manifests([str(file)])

    assert [(m.kind, m.metadata.get("namespace"), m.name) for m in reading.manifests] == [
        ("Pod", "shop", "web"),
        ("Pod", "own", ""),
    ]


def test_a_review_of_a_deletion_is_passed_over(tmp_path: Path) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}}
    reviews = [review("DELETE", oldObject=pod), {**review(), "request": None}, review(object=pod)]
    file = tmp_path / "reviews.yaml"
    file.write_text(yaml.safe_dump_all(reviews))

    reading = read_manifests([str(file)])

    assert len(reading.manifests) == 1
    assert len(reading.passed_over) == 2


def test_a_request_whose_user_or_object_before_no_rule_can_see_is_told(tmp_path: Path) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}}
    reviews = [review(object=pod), review(object=pod, userInfo={"username": "me"}), review(object=pod, oldObject=pod)]
    file = tmp_path / "reviews.yaml"
    file.write_text(yaml.safe_dump_all(reviews))

    reading = read_manifests([str(file)])

    assert [m.location for m in reading.manifests][1:] == reading.requests
