"""An answer as text for people, as JSON for programs, and its patch alone for `kubectl patch`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import yaml

from controller.text import WIDTH, one_line, plain, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from controller.why.answer import Answer

_LABEL: Final = 13
_LONGEST_VALUE: Final = 300
_FORESEEN: Final = {"deny": "Would be denied by", "warn": "Would be warned of by", "dryrun": "Audited, not denied, by"}
_EXPANSION: Final = "the pod that the workload would make (expansion {}): change the workload's pod template"


def as_json(answer: Answer) -> str:
    """One JSON document, keys sorted, ASCII alone; docs/why.md has the keys."""
    return json.dumps(answer.document, indent=2, sort_keys=True) + "\n"


def as_yaml(answer: Answer) -> str:
    """The JSON Patch alone, as YAML; empty where no fix has passed."""
    return patch_text(answer.patch) if answer.patch else ""


def patch_text(patch: Sequence[Mapping[str, Any]]) -> str:
    """A JSON Patch as YAML that `kubectl patch --patch-file` takes, an operation a line where it is short."""
    return yaml.safe_dump(list(patch), sort_keys=False, default_flow_style=None, width=WIDTH)


def as_text(answer: Answer) -> str:
    """Lines of at most 100 columns, but for ids and for the patch."""
    return "".join(f"{line}\n" for line in _lines(answer.document))


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    if about := document["object"]:
        name = f"{about['namespace']}/{about['name']}" if about["namespace"] else about["name"]
        yield from _line("Object", f"{about['kind']} {name}", at=0)
        yield ""
    for each in document["denials"]:
        yield from _denial(each)
        yield ""
    for each in document["others"]:
        head = "Not a denial by a policy of azpolicy's" if not document["denials"] else "Besides"
        yield from wrapped(f"{head}: {each['what']}")
        yield from _line("look at", each["look"])
        yield ""
    if document["cut"]:
        yield from wrapped("Note: the text was too long, and its end was not read")
    yield from _fixed(document)
    if document["denials"]:
        yield from _line("Policies from", document["source"], at=0)


def _denial(each: Mapping[str, Any]) -> Iterator[str]:
    policy, assignment, initiative = each["policy"], each["assignment"], each["initiative"]
    verb = "Warned of by" if each["warned"] else "Denied by"
    if each["foreseen"]:
        verb = _FORESEEN.get(each["enforcementAction"], "Violates, and is not denied by")
    may = "" if each["certain"] else " (possibly: another constraint of this policy may have been meant)"
    yield from wrapped(f"{verb} {policy['name'] or policy['id'].rpartition('/')[2]}{may}")
    yield from _line("message", each["message"])
    yield from _line("implied by", each["expansion"] and _EXPANSION.format(each["expansion"]))
    yield from _line("the policy", policy["words"])
    yield from _line("assignment", assignment["name"] or assignment["id"].rpartition("/")[2])
    yield from _line("", assignment["id"])
    if initiative:
        yield from _line("initiative", initiative["name"] or initiative["id"].rpartition("/")[2])
        yield from _line("", f"reference id {each['referenceId']}" if each["referenceId"] else "")
    yield from _line("scope", assignment["scope"])
    yield from _line("who decides", each["changeable"])
    yield from _line("enforced", _enforced(each))
    for number, (name, value) in enumerate(sorted(each["parameters"].items())):
        yield from _line("parameters" if number == 0 else "", f"{name}: {_value(value)}")
    for number, met in enumerate(each["met"]):
        yield from _line("what met them" if number == 0 else "", f"{met['path']}: {_value(met['value'])}")
    yield from _line("allowed", each["allowed"])
    for number, change in enumerate(each["changes"]):
        what = "remove it" if change.get("remove") else _value(change["to"])
        yield from _line("fix" if number == 0 else "", f"{change['path']}: {what}")
    yield from _line("note", each["note"])


def _enforced(each: Mapping[str, Any]) -> str:
    since = f" since {each['since']}" if each["since"] else ""
    constraint = each["constraint"]
    return f"{each['enforcementAction']}{since}, as {constraint['kind']}/{constraint['name']}"


def _fixed(document: Mapping[str, Any]) -> Iterator[str]:
    fix = document["fix"]
    if fix is None:
        yield from _line("No fix", document["fixMissing"], at=0)
        return
    if fix["admits"]:
        yield from wrapped("The smallest fix, which gator passes:")
        yield ""
        # Every character of it is ASCII and printable, as YAML writes it.
        yield from (f"  {line}" for line in patch_text(fix["patch"]).splitlines())
        yield ""
        yield from wrapped("Save it as fix.yaml (or take it from -o yaml), then:")
        yield f"  {plain(fix['command'])}"
    else:
        left = ", ".join(fix["left"])
        yield from wrapped(
            "No patch: with the fixes above the object would pass those policies, as gator says, and would still be "
            f"denied by {left}"
        )
    yield ""


def _value(value: object) -> str:
    text = "not set" if value is None else json.dumps(value, sort_keys=True)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]} …"


def _line(label: str, text: str, *, at: int = 2) -> Iterator[str]:
    if text:
        head = f"{'':{at}}{label:{_LABEL}} "
        yield from wrapped(f"{head}{one_line(text)}", indent=len(head))


FORMATS: Final = {"text": as_text, "json": as_json, "yaml": as_yaml}
