"""What a template source serves is text from elsewhere: these tests play the broken, the wrong and the hostile."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from controller.gatekeeper.documents import (
    DocumentError,
    DocumentKind,
    MutationDocument,
    Origin,
    TemplateDocument,
    clean_metadata,
    read_document,
)
from controller.gatekeeper.legacy import fill
from controller.gatekeeper.yamltext import MAX_DEPTH, YamlError, read_yaml, write_yaml

if TYPE_CHECKING:
    from controller.jsontypes import Json

TEMPLATE = """\
apiVersion: templates.gatekeeper.sh/v1beta1
kind: ConstraintTemplate
metadata: {name: k8sthing, annotations: {description: text}}
spec:
  crd: {spec: {names: {kind: K8sThing}}}
  targets: [{target: admission.k8s.gatekeeper.sh, rego: package thing}]
"""
MUTATION = """\
apiVersion: mutations.gatekeeper.sh/v1
kind: Assign
metadata: {name: mutate-thing}
spec:
  applyTo: [{groups: [""], versions: [v1], kinds: [Pod]}]
  location: spec.hostNetwork
  match: {scope: Namespaced}
  parameters: {assign: {value: false}}
"""


def template(text: str) -> TemplateDocument:
    document = read_document(DocumentKind.TEMPLATE, text.encode(), Origin.URL)
    assert isinstance(document, TemplateDocument)
    return document


def mutation(text: str) -> MutationDocument:
    document = read_document(DocumentKind.MUTATION, text.encode(), Origin.URL)
    assert isinstance(document, MutationDocument)
    return document


def test_a_template_is_known_by_its_name_its_kind_and_the_digest_of_its_bytes() -> None:
    document = template(TEMPLATE)

    assert (document.name, document.constraint_kind) == ("k8sthing", "K8sThing")
    assert document.digest == hashlib.sha256(TEMPLATE.encode()).hexdigest()


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
def test_every_version_of_templates_is_read(version: str) -> None:
    assert template(TEMPLATE.replace("v1beta1", version)).manifest["apiVersion"] == f"templates.gatekeeper.sh/{version}"


@pytest.mark.parametrize("kind", ["Assign", "AssignMetadata", "ModifySet", "AssignImage"])
def test_every_kind_of_mutator_is_read(kind: str) -> None:
    assert mutation(MUTATION.replace("kind: Assign\n", f"kind: {kind}\n")).manifest["kind"] == kind


def test_a_byte_order_mark_is_no_fault() -> None:
    document = read_document(DocumentKind.TEMPLATE, b"\xef\xbb\xbf" + TEMPLATE.encode(), Origin.URL)

    assert isinstance(document, TemplateDocument)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("kind: ConstraintTemplate", "kind: Pod", "its kind is 'Pod'"),
        ("kind: ConstraintTemplate", "kind: [ConstraintTemplate]", "its kind is"),
        ("templates.gatekeeper.sh/v1beta1", "templates.gatekeeper.sh/v2", "its apiVersion is"),
        ("templates.gatekeeper.sh/v1beta1", "v1", "its apiVersion is"),
        ("kind: K8sThing", "kind: K8sOther", "needs 'k8sother'"),
        ("kind: K8sThing", "kind: 7", "not the name of a kind"),
        ("names: {kind: K8sThing}", "names: []", "names is not a mapping"),
        ("metadata: {name: k8sthing", "metadata: {name: 'k8s thing'", "not the name of a Kubernetes object"),
        ("name: k8sthing, ", "", "metadata.name is None"),
        ("description: text", "description: 7", "metadata.annotations.description is not text"),
        ("  targets: [{target: admission.k8s.gatekeeper.sh, rego: package thing}]\n", "", "spec.targets is missing"),
        ("spec:", "spec: !!python/object:os.system", "a tag is not allowed (line 4)"),
        ("spec:", "spec: &a", "line"),
        ("description: text", "description: text, description: text", "the key 'description' appears twice (line 3)"),
    ],
)
def test_a_template_that_is_not_one_is_refused_by_name_of_the_fault(old: str, new: str, complaint: str) -> None:
    broken = TEMPLATE.replace(old, new)
    assert broken != TEMPLATE
    if new == "spec: &a":
        broken += "status: *a\n"

    with pytest.raises(DocumentError) as refusal:
        template(broken)

    assert complaint in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("# only a comment\n", "empty"),
        ("[1, 2]", "not a Kubernetes object"),
        ("a: 1\n---\nb: 2\n", "second document"),
        ("a: [1, 2", "line 2"),
        ("a: b\0", "control characters are not allowed"),
        ("a: &x [1]\nb: *x\n", "alias"),
        ("<<: {a: 1}\n<<: {b: 1}\n", "'<<' appears twice"),
        ("1: a\n", "key is not text"),
        ("a: .nan\n", "not a finite number"),
        ("a: 1e999\n", "not a finite number"),
        ("a: 0x\n", "its kind is None"),
        ("a: 0x_\n", "not a whole number"),
        ("{a: " * 70 + "1" + "}" * 70, "nested deeper"),
        ("[" * 100_000, "nested deeper"),
    ],
)
def test_text_that_is_not_one_plain_document_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(DocumentError, match=complaint):
        template(text)


def test_a_page_of_aliases_is_refused_before_it_unfolds() -> None:
    bomb = 'a0: &a0 ["x"]\n' + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40))

    with pytest.raises(DocumentError, match="alias"):
        template(bomb)


def test_more_than_a_mebibyte_is_refused_unread() -> None:
    with pytest.raises(DocumentError, match="larger than 1024 KiB"):
        template(TEMPLATE + "#" * 1024 * 1024)


def test_a_constraint_file_has_the_same_limit_before_it_is_filled() -> None:
    with pytest.raises(DocumentError, match="larger than 1024 KiB"):
        read_document(DocumentKind.CONSTRAINT, b"#" * (1024 * 1024 + 1), Origin.URL)


def test_bytes_that_are_no_text_are_refused_by_position() -> None:
    with pytest.raises(DocumentError, match="byte 3"):
        read_document(DocumentKind.TEMPLATE, b"a: \xff", Origin.URL)


def test_only_labels_and_annotations_of_a_document_are_used_and_none_of_our_own_keys() -> None:
    manifest: dict[str, Json] = {
        "metadata": {
            "name": "n",
            "ownerReferences": [{"uid": "1"}],
            "finalizers": ["f"],
            "labels": {"managed-by": "someone", "team": "a"},
            "annotations": {"azure-policy-assignment-id": "x", "description": "d"},
        }
    }

    assert clean_metadata(manifest) == {"labels": {"team": "a"}, "annotations": {"description": "d"}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2001-01-01", "2001-01-01"),
        ("1:30", "1:30"),
        ("1e3", 1000.0),
        ("0777", 511),
        ("0o17", 15),
        ("1_000", 1000),
        ("yes", True),
        ("y", "y"),
        ("~", None),
        ("", None),
        ("'007'", "007"),
        ("=", "="),
        ("1.5", 1.5),
        ("-7", -7),
    ],
)
def test_scalars_mean_what_they_mean_to_kubectl(text: str, value: Json) -> None:
    assert read_yaml(f"a: {text}") == {"a": value}


def test_nesting_as_deep_as_schemas_need_is_read() -> None:
    depth = MAX_DEPTH - 1

    assert json.dumps(read_yaml("[" * depth + "]" * depth)) == "[" * depth + "]" * depth


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), _JSON, max_size=4))
def test_what_is_written_reads_back_the_same_here_and_with_a_plain_yaml_reader(value: dict[str, Json]) -> None:
    text = write_yaml([value])

    assert read_yaml(text) == value
    assert yaml.safe_load(text) == value


@pytest.mark.parametrize(
    "text",
    ["1e3", "1.0", "007", "0o7", "0x1f", "1:30", "yes", "n", "null", "~", "2001-01-01", "=", "<<", "", " a", "a ",
     "- a", "a: b", "#", "*a", "&a", "!a", "@a", "`a", "%a", "{", "[", "é ü 漢 🙂",
     "\u2028", "\x85", "a\r\nb", "a\n\n b\n", "\ta\n\tb"],
)  # fmt: skip
def test_text_that_looks_like_something_else_stays_text(text: str) -> None:
    written = write_yaml([{"a": text, text: "a"}])

    assert read_yaml(written) == {"a": text, text: "a"}
    assert yaml.safe_load(written) == {"a": text, text: "a"}


def test_text_of_several_lines_is_written_as_a_block() -> None:
    assert write_yaml([{"rego": "package a\n\nallow { true }\n"}]) == (
        "---\nrego: |\n  package a\n\n  allow { true }\n"
    )


def test_values_that_manifests_share_are_written_out_each_time() -> None:
    shared: list[Json] = ["a"]

    assert "*" not in write_yaml([{"x": shared, "y": shared}])


def test_an_error_of_yaml_is_one_line_that_names_the_line() -> None:
    with pytest.raises(YamlError, match=r"\(line 2\)$"):
        read_yaml("a: b\n\tc: d\n")


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("x: {{ .Values.list }}", 'x: ["a", "é"]'),
        ("x: {{.Values.text}}", "x: ^a.*$"),
        ('x: "{{ .Values.text }}"', 'x: "^a.*$"'),
        ("x: {{ .Values.number }}-{{ .Values.flag }}", "x: 3-true"),
        ("x: {{ .Values.object.inner }}", 'x: {"a": null}'),
        ("x: plain", "x: plain"),
    ],
)
def test_an_old_form_file_is_filled_with_json_and_raw_text(text: str, filled: str) -> None:
    values: dict[str, Json] = {
        "list": ["a", "é"], "text": "^a.*$", "number": 3, "flag": True, "object": {"inner": {"a": None}},
    }  # fmt: skip

    assert fill(text, values) == filled


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{{ .Values.absent }}", "{{ .Values.absent }} names a value that the definition does not pass"),
        ("{{ .Values.text.deeper }}", "does not pass"),
        ("{{ .Values.nothing }}", "does not pass"),
        ("{{ if .Values.text }}a{{ end }}", "{{ if .Values.text }} is more than a value"),
        ("{{ .Values.text | quote }}", "more than a value"),
        ("{{- .Values.text -}}", "more than a value"),
        ("{{ .Release.Name }}", "more than a value"),
        ("{{ .Values }}", "more than a value"),
        ("a {{ .Values.text", "not closed"),
    ],
)
def test_more_than_values_in_an_old_form_file_is_refused_by_name(text: str, complaint: str) -> None:
    with pytest.raises(DocumentError) as refusal:
        fill(text, {"text": "a", "nothing": None})

    assert complaint in str(refusal.value)


def test_a_filled_in_value_is_never_filled_in_again() -> None:
    assert fill("{{ .Values.a }}", {"a": "{{ .Values.b }}", "b": "x"}) == "{{ .Values.b }}"
