"""Broken and hostile files, as cases by name: of snapshots, templates, mutators and constraints; and what is no file.

What cannot be read as JSON spoils the snapshot as a whole, by design; a template spoils what needs it and nothing else.
"""

from __future__ import annotations

import gzip
import json
import os
from typing import TYPE_CHECKING, Final

from controller.azure.snapshot import LARGEST_FILE
from controller.gatekeeper.yamltext import MAX_BYTES, MAX_DEPTH, MAX_EVENTS
from tests.snapshots import template_text
from tests.unit.azure_builders import assignment_id, definition_id, make_assignment, make_definition
from tests.unit.bad_documents import CONSTRAINT, MUTATION, NEEDS, TEMPLATE
from tests.unit.bad_input import (
    INPUT_ERROR,
    NAME,
    NOTHING,
    SOURCE_ERROR,
    Case,
    carried,
    constraint,
    defined,
    documents,
    hostile_details,
    mutation,
    old_constraint,
    template,
    text,
    write_snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from controller.jsontypes import Json
    from tests.unit.bad_input import Put

# --- files of a snapshot ---------------------------------------------------------------------------------------------

GOOD: Final = json.dumps(
    [make_assignment(NAME, of=definition_id(NAME), effect="Deny"), make_definition(NAME, details=hostile_details())]
)
ONE: Final = json.dumps(make_assignment(NAME, of=definition_id(NAME)))
MANY_KEYS: Final = ",".join(f'"k{index}":1' for index in range(60_000))
NO_SNAPSHOT: Final[Mapping[str, tuple[bytes | str, str]]] = {
    "empty": ("", "is empty"),
    "of blanks": (" \r\n\t", "is empty"),
    "a mark of the byte order and nothing else": (b"\xef\xbb\xbf", "is empty"),
    "cut off in a list": (GOOD[:-1], "line 1, column"),
    "cut off in a text": (GOOD[:40], "line 1, column"),
    "cut off in a letter": (GOOD.encode()[:-2] + b"\xe2\x82", "not UTF-8"),
    "followed by another": (GOOD + GOOD, "Extra data"),
    "a document a line": (f"{ONE}\n{ONE}\n", "line 2, column 1: Extra data"),
    "with a comma too many": ('{"id": "/a",}', "line 1, column"),
    "with a comment": ('// hostile\n{"id": "/a"}', "line 1, column 1"),
    "in single quotes": ("{'id': '/a'}", "line 1, column 2"),
    "with a number in hexadecimal": ('{"id": 0x1f}', "line 1, column"),
    "with a line break in a text": ('{"id": "/a\n"}', "line 1, column"),
    "with a null byte in a text": ('{"id": "/a\0"}', "line 1, column"),
    "of null bytes": (b"\0" * 4096, "line 1, column 1"),
    "in UTF-16, little end first": (GOOD.encode("utf-16"), "not UTF-8"),
    "in UTF-16, big end first": (b"\xfe\xff" + GOOD.encode("utf-16-be"), "not UTF-8"),
    "in UTF-16 without a mark": (GOOD.encode("utf-16-le"), "line 1, column"),
    "in UTF-32": (GOOD.encode("utf-32"), "not UTF-8"),
    "in Latin-1": ('{"id": "/ä"}'.encode("latin-1"), "not UTF-8"),
    "with a letter that is too long": (b'{"id": "/\xc0\xaf"}', "not UTF-8"),
    "with half a pair in UTF-8": (b'{"id": "/\xed\xa0\x80"}', "not UTF-8"),
    "packed": (gzip.compress(GOOD.encode()), "not UTF-8"),
    "a page": ("<!doctype html><html>Sign in</html>", "line 1, column 1"),
    "YAML": ("id: /a\n", "line 1, column 1"),
    "the text of an expression": ("[parameters('x')]", "line 1, column 2"),
    "not a number": ('{"id": NaN}', "NaN is not a JSON number"),
    "without end": ('{"id": Infinity}', "Infinity is not a JSON number"),
    "below everything": ('{"id": -Infinity}', "-Infinity is not a JSON number"),
    "a number of ten thousand digits": (f'{{"id": {"9" * 10_000}}}', "too many digits"),
    "lists nested without end": ("[" * 100_000, "nested too deeply"),
    "objects nested without end": ('{"a":' * 100_000, "nested too deeply"),
    "with a key twice": ('{"id": "/a", "id": "/b"}', "the key 'id' appears twice"),
    "with a key twice, spelled otherwise": ('{"id": "/a", "\\u0069d": "/b"}', "the key 'id' appears twice"),
    "with one of sixty thousand keys twice": (f'{{{MANY_KEYS},"k59999":1}}', "the key 'k59999' appears twice"),
    "with a page for a key twice": (f'{{"{"k" * 99_999}":1,"{"k" * 99_999}":1}}', "appears twice"),
    "a text": ('"hostile"', "must contain an ARM resource"),
    "a number": ("7", "must contain an ARM resource"),
    "null": ("null", "must contain an ARM resource"),
    "a list of numbers": ("[1, 2]", r"\[0\]: must be an ARM resource"),
    "a list of lists": (f"[{GOOD}]", r"\[0\]: must be an ARM resource"),
    "a list with null": (f"[{ONE}, null]", r"\[1\]: must be an ARM resource"),
    "a response without a list": ('{"value": {}}', "'value' must be a list"),
    "a response with a text": ('{"value": "hostile"}', "'value' must be a list"),
    "an id that is a number": ('{"id": 7}', "must be strings"),
    "a type that is a list": ('{"id": "/a", "type": []}', "must be strings"),
    "an error of Azure": ('{"error": {"code": "AuthorizationFailed"}}', "not an ARM resource"),
}
HALF_A_PAIR: Final = ONE.replace('"displayName": "hostile"', '"displayName": "\\ud800"')
LARGEST_NUMBER: Final = ONE.replace('"parameters": {}', '"parameters": {"x": {"value": 1e999}}')
READ_ALL_THE_SAME: Final = {
    "with a mark of the byte order": Case(text(b"\xef\xbb\xbf" + GOOD.encode()), "deny"),
    "an empty list": Case(text("[]"), NOTHING),
    "an empty response": Case(text('{"value": []}'), NOTHING),
    "with half a pair in a text": Case(text(HALF_A_PAIR), "Unreadable", "half a surrogate pair"),
    "with a number beyond all": Case(text(LARGEST_NUMBER), "Unreadable", "inf is not a JSON number"),
    "one page of a list": Case(
        text('{"value": [], "nextLink": "https://example.com"}'), SOURCE_ERROR, "one page of a list"
    ),
    "of a type that is nobody's": Case(text('{"id": "/hostile", "type": "Hostile.Provider/things"}'), NOTHING),
    "of a type that spells nothing": Case(text('{"id": "/hostile"}'), NOTHING),
}


# --- what is no file -------------------------------------------------------------------------------------------------


def linked(target: str | Path, name: str = "hostile.json") -> Put:
    """A link in the snapshot."""
    return lambda root: (root / "snapshot" / name).symlink_to(target)


def large(root: Path) -> None:
    """A file that says it is larger than any snapshot may be."""
    with (root / "snapshot" / "hostile.json").open("wb") as file:
        file.truncate(LARGEST_FILE + 1)


def circle(root: Path) -> None:
    """Two links to each other."""
    linked("hostile-b.json")(root)
    linked("hostile.json", "hostile-b.json")(root)


def pipe(root: Path) -> None:
    """A pipe that nobody writes into."""
    os.mkfifo(root / "snapshot" / "hostile.json")


def linked_pipe(root: Path) -> None:
    """A link to a pipe."""
    os.mkfifo(root / "pipe")
    linked(root / "pipe")(root)


def deep_folders(root: Path) -> None:
    """A file below three hundred folders."""
    write_snapshot(root, f"{'d/' * 300}hostile.json", GOOD.encode())


def folders_in_a_circle(root: Path) -> None:
    """Links from folder to folder, round and round."""
    for name, target in (("a", ".."), ("b", "."), ("c", root / "snapshot")):
        linked(target, name)(root)


def named(name: str | bytes, content: bytes = b'{"id": "/hostile", "type": 7}') -> Put:
    """A file of the snapshot with a strange name."""
    return lambda root: write_snapshot(root, os.fsdecode(name), content)


NO_FILES: Final = {
    "too large": Case(large, INPUT_ERROR, "larger than 64 MiB"),
    "a folder": Case(lambda root: (root / "snapshot" / "hostile.json").mkdir(), NOTHING),
    "a folder with such a file in it": Case(
        lambda root: write_snapshot(root, "hostile.json/a.json", GOOD.encode()), "deny"
    ),
    "below three hundred folders": Case(deep_folders, "deny"),
    "beside folders in a circle": Case(folders_in_a_circle, NOTHING),
    "a link to nowhere": Case(linked("nowhere"), INPUT_ERROR, "cannot be read: No such file"),
    "a link to itself": Case(linked("hostile.json"), INPUT_ERROR, "cannot be read: Too many levels"),
    "two links to each other": Case(circle, INPUT_ERROR, "cannot be read: Too many levels"),
    "a link to nothing": Case(linked("/dev/null"), INPUT_ERROR, "does not lead to a regular file"),
    "a link to a pipe": Case(linked_pipe, INPUT_ERROR, "does not lead to a regular file"),
    "a pipe": Case(pipe, NOTHING),
    "named with a line break": Case(named("hostile\n.json"), INPUT_ERROR, "must be strings"),
    "named with an escape": Case(named("hostile\x1b[2J.json"), INPUT_ERROR, "must be strings"),
    "named from right to left": Case(named("hostile\u202enosj.json"), INPUT_ERROR, "must be strings"),
    "named in no encoding": Case(named(b"hostile\xff.json"), INPUT_ERROR, "must be strings"),
    "named in no encoding, and unreadable": Case(
        named(b"\xff.json", json.dumps({"id": assignment_id(NAME), "properties": 7}).encode()), "Unreadable"
    ),
}

# --- templates -------------------------------------------------------------------------------------------------------

CARRIED: Final = template_text("K8sHostile")
ALIASES: Final = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))])


def changed(old: str, new: str) -> str:
    """The template with one thing changed."""
    assert old in CARRIED
    return CARRIED.replace(old, new, 1)


def needing(requirements: Json) -> str:
    """The template with requirements of data."""
    return json.dumps({**TEMPLATE, "metadata": {"name": "k8shostile", "annotations": {NEEDS: requirements}}})


KINDS: Final = [f"Kind{index}" for index in range(101)]
VERSIONS: Final = [f"v{index}" for index in range(20_000)]
NO_TEMPLATES: Final[Mapping[str, tuple[bytes | str, str]]] = {
    "empty": (" ", "is empty"),
    "a comment": ("# hostile", "is empty"),
    "null": ("null", "not a Kubernetes object"),
    "a list": ("[]", "not a Kubernetes object"),
    "a number": ("7", "not a Kubernetes object"),
    "cut off": (CARRIED[:-20], "line"),
    "two documents": (f"{CARRIED}\n---\n{CARRIED}", "second document"),
    "a page of aliases": (ALIASES, "alias is not allowed"),
    "an alias of itself": ("a: &a [*a]", "alias is not allowed"),
    "a tag of Python": ("a: !!python/object/apply:os.system ['true']", "tag is not allowed"),
    "a tag of its own": ("a: !hostile b", "tag is not allowed"),
    "binary": ("a: !!binary aGk=", "tag is not allowed"),
    "a key twice": ("a: 1\na: 2", "appears twice"),
    "a key that is a list": ("? [a]\n: b", "a key is not text"),
    "a key that is a number": ("1: b", "a key is not text"),
    "a list of very many": ("[" + "1," * MAX_EVENTS + "]", "more than 50,000 values"),
    "lists nested too deeply": ("[" * (MAX_DEPTH + 1), "nested deeper"),
    "lists nested without end": ("[" * 300_000, "nested deeper"),
    "keys nested without end": ("? " * 300_000, "nested deeper"),
    "dashes nested without end": ("- " * 300_000, "nested deeper"),
    "indented without end": ("".join(f"{' ' * n}a:\n" for n in range(1_000)), "nested deeper"),
    "larger than it may be": ("#" * (MAX_BYTES + 1), "larger than 1024 KiB"),
    "anchors without end": ("&a " * 100_000, "line 1"),
    "a tab for indentation": ("a:\n\tb: c", "line 2"),
    "a null byte": ("a: b\0c", "control characters are not allowed"),
    "UTF-16": (CARRIED.encode("utf-16"), "UTF-16"),
    "UTF-16 without a mark": (CARRIED.encode("utf-16-le"), "control characters|not allowed"),
    "Latin-1": ("a: ä".encode("latin-1"), "not UTF-8"),
    "packed": (gzip.compress(CARRIED.encode()), "not UTF-8"),
    "a number without end": ("a: .inf", "not a finite number"),
    "not a number": ("a: .nan", "not a finite number"),
    "a number beyond all": ("a: 1e999", "not a finite number"),
    "five thousand hexadecimal digits": (f"a: 0x{'f' * 5_000}", "too many digits"),
    "five thousand digits": (f"a: {'9' * 5_000}", "too many digits"),
    "a mutator": (json.dumps(MUTATION), "not ConstraintTemplate"),
    "a constraint": (json.dumps(CONSTRAINT), "not ConstraintTemplate"),
    "of another group": (changed("templates.gatekeeper.sh/v1", "templates.example.com/v1"), "its apiVersion"),
    "of a version to come": (changed("templates.gatekeeper.sh/v1", "templates.gatekeeper.sh/v9"), "its apiVersion"),
    "of a name that is not its kind": (changed('"name": "k8shostile"', '"name": "k8sother"'), "needs 'k8shostile'"),
    "of no name": (changed('"name": "k8shostile"', '"name": ""'), "not the name of a Kubernetes object"),
    "of a name in capitals": (
        changed('"name": "k8shostile"', '"name": "K8sHostile"'),
        "not the name of a Kubernetes object",
    ),
    "of a name that climbs": (
        changed('"name": "k8shostile"', '"name": "../../hostile"'),
        "not the name of a Kubernetes object",
    ),
    "of a kind of 64 letters": (template_text("K" * 64), "not the name of a kind"),
    "of a kind of a page": (template_text("K" * 100_000), "not the name of a kind"),
    "of a kind with a slash": (template_text("K8s/Hostile"), "not the name of a kind"),
    "of a kind with a line break": (template_text("K8sHostile\n"), "not the name of a kind"),
    "without targets": (changed('"targets"', '"target"'), "spec.targets is missing"),
    "with a label that is a number": (
        changed('"name": "k8shostile"', '"name": "k8shostile", "labels": {"a": 1}'),
        "is not text",
    ),
    "that needs what is not JSON": (needing("{"), "it is not JSON"),
    "that needs JSON nested without end": (needing("[" * 100_000), "it is not JSON"),
    "that needs no list": (needing("{}"), "a list of requirements"),
    "that needs nothing of something": (needing("[[]]"), "no alternatives"),
    "that needs a kind of no name": (needing('[[{"groups":[""],"versions":["v1"],"kinds":["*"]}]]'), "are not names"),
    "that needs too many kinds": (
        needing(json.dumps([[{"groups": [""], "versions": ["v1"], "kinds": KINDS}]])),
        "more than 100 kinds",
    ),
    "that needs every combination": (
        needing(json.dumps([[{"groups": VERSIONS, "versions": VERSIONS, "kinds": KINDS}]])),
        "more than 100 kinds",
    ),
}
NO_MUTATORS: Final[Mapping[str, tuple[bytes | str, str]]] = {
    "empty": (" ", "is empty"),
    "a template": (CARRIED, "not Assign or"),
    "without a spec": ("apiVersion: mutations.gatekeeper.sh/v1\nkind: Assign\nmetadata: {name: x}", "spec is missing"),
    "with a spec of null": (json.dumps(MUTATION | {"spec": None}), "spec is missing"),
    "with an empty spec": (json.dumps(MUTATION | {"spec": {}}), "spec is missing"),
    "of another group": (json.dumps(MUTATION | {"apiVersion": "example.com/v1"}), "its apiVersion"),
    "of a kind in small letters": (json.dumps(MUTATION | {"kind": "assign"}), "not Assign or"),
    "of a name with two dots": (
        json.dumps(MUTATION | {"metadata": {"name": "a..b"}}),
        "not the name of a Kubernetes object",
    ),
    "of a name of three hundred letters": (json.dumps(MUTATION | {"metadata": {"name": "a" * 300}}), "not the name"),
    "a page of aliases": (ALIASES, "alias is not allowed"),
}
NO_CONSTRAINTS: Final[Mapping[str, tuple[bytes | str, str]]] = {
    "empty": (" ", "is empty"),
    "a template": (CARRIED, "not a constraint"),
    "of another kind": (json.dumps(CONSTRAINT | {"kind": "K8sOther"}), "is of kind 'K8sOther'"),
    "of a kind in capitals": (json.dumps(CONSTRAINT | {"kind": "K8SHOSTILE"}), "is of kind 'K8SHOSTILE'"),
    "of another group": (json.dumps(CONSTRAINT | {"apiVersion": "example.com/v1"}), "not a constraint"),
    "a page of aliases": (ALIASES, "alias is not allowed"),
    "larger than it may be": ("#" * (MAX_BYTES + 1), "larger than 1024 KiB"),
}
LEGACY_FORM: Final = json.dumps(CONSTRAINT)
VALUES: Final[Mapping[str, Json]] = {"long": "a" * 1_000_000, "list": [1]}
NO_OLD_CONSTRAINTS: Final[Mapping[str, tuple[str, str]]] = {
    "with braces never closed": ("{{ .Values.list", "not closed"),
    "with a page of braces never closed": ("{{" * 500_000, "not closed"),
    "with a page of words in braces never closed": ("{{ x" * 250_000, "not closed"),
    "with a value that nobody gives": ("{{ .Values.nowhere }}", "does not pass"),
    "with a value of a list": ("{{ .Values.list.a }}", "does not pass"),
    "with a program": ("{{ range .Values.list }}{{ end }}", "more than a value"),
    "with a function": ("{{ .Values.list | toYaml }}", "more than a value"),
    "with a file": ('{{ .Files.Get "/etc/passwd" }}', "more than a value"),
    "with an empty action": ("{{}}", "more than a value"),
    "with a page in braces": (f"{{{{{'x' * 100_000}}}}}", "more than a value"),
    "with a long value again and again": (f"# {'{{ .Values.long }}' * 1_000}\n{LEGACY_FORM}", "larger than 1024 KiB"),
    "that is no YAML once it is filled": ("a: {{ .Values.list }}]", "line 1"),
}


def in_the_folder(put_there: Callable[[Path], object]) -> Put:
    """A definition whose template is, in the template folder, whatever is put there."""

    def put(root: Path) -> None:
        file = root / "templates" / NAME / "v1" / "template.yaml"
        file.unlink()
        put_there(file)
        defined()(root)

    return put


FOLDER: Final = {
    "a folder": Case(in_the_folder(lambda file: file.mkdir()), "TemplateUnavailable", "Is a directory"),
    "a link to a device": Case(
        in_the_folder(lambda file: file.symlink_to("/dev/zero")), "TemplateUnavailable", "is not a file"
    ),
    "a link to itself": Case(
        in_the_folder(lambda file: file.symlink_to(file)), "TemplateUnavailable", "Too many levels"
    ),
    "a link to nowhere": Case(
        in_the_folder(lambda file: file.symlink_to("nowhere")), "TemplateUnavailable", "has no hostile"
    ),
    "a file of null bytes": Case(
        in_the_folder(lambda file: file.write_bytes(b"\0" * 100)), "TemplateUnavailable", "control characters"
    ),
}


def beside_another(second: str) -> Put:
    """Two assignments of definitions that carry their templates, of which the second is this."""
    both = zip((NAME, "hostile-b"), (CARRIED, second), strict=True)
    return documents(
        *(
            each
            for name, content in both
            for each in (
                make_assignment(name, of=definition_id(name), effect="Deny"),
                make_definition(name, details=hostile_details(templateInfo=carried(content))),
            )
        )
    )


LONG_KIND: Final = "K8sHostileThingWithANameOfMoreThanThirtyLetters"
COLLISIONS: Final = {
    "a template that takes a healthy one's name": Case(
        template(template_text("K8sHealthy", rule="hostile")), "ConstraintTemplateConflicts", "is taken"
    ),
    "a template that takes a healthy one's name in another case": Case(
        template(template_text("K8SHEALTHY", rule="hostile")), "ConstraintTemplateConflicts", "is taken"
    ),
    "two kinds that differ in case alone": Case(
        beside_another(template_text("K8SHOSTILE")), "ConstraintTemplateConflicts deny", "is taken"
    ),
    "two kinds whose first thirty letters are the same": Case(beside_another(template_text(LONG_KIND)), "deny"),
    "a kind of 63 letters": Case(template(template_text("K" * 63)), "deny"),
    "a kind that is cut at a dash": Case(template(template_text("K" * 29 + "-x")), "deny"),
    "a mutator that is cut at a dot": Case(
        mutation(json.dumps(MUTATION | {"metadata": {"name": "a" * 29 + ".b"}})), "mutate"
    ),
    "a template with a mark of the byte order": Case(template(b"\xef\xbb\xbf" + CARRIED.encode()), "deny"),
    "a template with strange letters": Case(template(changed("forbidden", "\u202e\u200d\U0001f4a3")), "deny"),
    "a template that gives itself our marks": Case(
        template(changed('"name": "k8shostile"', '"name": "k8shostile", "labels": {"managed-by": "hostile"}')), "deny"
    ),
    "base64 that is none": Case(
        defined(hostile_details(templateInfo={"sourceType": "Base64Encoded", "content": "%%%"})),
        "TemplateMalformed",
        "not base64",
    ),
    "base64 of nothing at all": Case(
        defined(hostile_details(templateInfo={"sourceType": "Base64Encoded", "content": " "})),
        "TemplateMalformed",
        "is empty",
    ),
    "base64 larger than it may be": Case(
        defined(hostile_details(templateInfo={"sourceType": "Base64Encoded", "content": "A" * (3 * MAX_BYTES)})),
        "TemplateMalformed",
        "larger than 1024 KiB",
    ),
}


def files() -> Iterator[tuple[str, Case]]:
    """Every table of this module."""
    for what, (content, says) in NO_SNAPSHOT.items():
        yield f"a snapshot: {what}", Case(text(content), INPUT_ERROR, says)
    for what, case in (*READ_ALL_THE_SAME.items(), *NO_FILES.items()):
        yield f"a snapshot: {what}", case
    for what, (content, says) in NO_TEMPLATES.items():
        yield f"a template: {what}", Case(template(content), "TemplateMalformed", says)
    for what, (content, says) in NO_MUTATORS.items():
        yield f"a mutator: {what}", Case(mutation(content), "TemplateMalformed", says)
    for what, (content, says) in NO_CONSTRAINTS.items():
        yield f"a constraint file: {what}", Case(constraint(content), "TemplateMalformed", says)
    for what, (old, says) in NO_OLD_CONSTRAINTS.items():
        yield f"a constraint file {what}", Case(old_constraint(old, VALUES), "TemplateMalformed", says)
    for what, case in FOLDER.items():
        yield f"a template in a folder: {what}", case


FILE_CASES: Final[Mapping[str, Case]] = {**dict(files()), **COLLISIONS}
