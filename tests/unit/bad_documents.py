"""Broken and hostile documents of Azure Policy, as cases by name; every one of them is JSON that can be read.

The table of fields comes first: at every field of every kind of document stands a value of every wrong type.
"""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from controller.policy.functions import FUNCTIONS
from tests.snapshots import template_text
from tests.unit.azure_builders import (
    GROUP,
    MANAGEMENT_GROUP,
    SUBSCRIPTION,
    assignment_id,
    deep,
    definition_id,
    initiative_id,
    make_assignment,
    make_cluster,
    make_definition,
    make_exemption,
    make_initiative,
    make_parameter,
    make_reference,
    places,
    put,
    with_properties,
)
from tests.unit.bad_input import (
    INPUT_ERROR,
    NAME,
    NOTHING,
    Case,
    constraint,
    defined,
    documents,
    hostile_details,
    mutation,
    public,
    template,
    valued,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from controller.jsontypes import Json
    from tests.unit.bad_input import Document, Put

# --- a wrong value at every field ------------------------------------------------------------------------------------

SELECTORS: Final[Json] = [{"name": "s", "selectors": [{"kind": "resourceLocation", "in": ["westeurope"]}]}]
ASSIGNMENT: Final = make_assignment(
    NAME,
    of=initiative_id(NAME),
    effect="Deny",
    scope=SUBSCRIPTION,
    notScopes=["/subscriptions/other"],
    overrides=[{"kind": "policyEffect", "value": "Audit", "selectors": [{"kind": "resourceLocation", "in": ["x"]}]}],
    resourceSelectors=SELECTORS,
    definitionVersion="1.*.*",
    effectiveDefinitionVersion="1.0.0",
    enforcementMode="Default",
)
REFERENCE: Final = make_reference(
    of=definition_id(NAME),
    parameters={"effect": "[parameters('effect')]"},
    definitionVersion="1.*.*",
    effectiveDefinitionVersion="1.0.0",
)
INITIATIVE: Final = make_initiative(REFERENCE, name=NAME)
CONDITION: Final[Json] = {
    "allOf": [
        {"field": "type", "equals": "Microsoft.ContainerService/managedClusters"},
        {"not": {"value": "a", "equals": "b"}},
        {"count": {"value": ["a"], "name": "n", "where": {"value": "[current('n')]", "equals": "a"}}, "equals": 1},
    ]
}
DETAILS: Final = hostile_details(
    namespaces=["a"],
    excludedNamespaces=["b"],
    labelSelector={"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]},
    scope="Namespaced",
    source="All",
    warn=False,
    values={"labels": ["[parameters('name')]"]},
)
DEFINITION: Final = with_properties(
    make_definition(
        NAME,
        condition=CONDITION,
        details=DETAILS,
        parameters={"name": make_parameter("String", defaultValue="x", allowedValues=["x"])},
    ),
    {"description": "d", "policyType": "Custom"},
)
EXEMPTION: Final = make_exemption(
    NAME,
    of=assignment_id(NAME),
    displayName="d",
    policyDefinitionReferenceIds=["other"],
    resourceSelectors=SELECTORS,
    expiresOn="2030-01-01T00:00:00Z",
)
RESOURCES: Final[Mapping[str, Document]] = {
    "assignment": ASSIGNMENT,
    "initiative": INITIATIVE,
    "definition": DEFINITION,
    "exemption": EXEMPTION,
}
NEEDS: Final = "metadata.gatekeeper.sh/requires-sync-data"
NEEDED: Final = '[[{"groups":[""],"versions":["v1"],"kinds":["Pod"]}]]'
TEMPLATE: Final[Document] = {
    **json.loads(template_text("K8sHostile")),
    "metadata": {"name": "k8shostile", "labels": {"a": "b"}, "annotations": {NEEDS: NEEDED}},
}
CONSTRAINT: Final[Document] = {
    "apiVersion": "constraints.gatekeeper.sh/v1beta1",
    "kind": "K8sHostile",
    "metadata": {"name": "x", "labels": {"a": "b"}, "annotations": {"a": "b"}},
    "spec": {"match": {"excludedNamespaces": ["a"]}, "parameters": {"labels": ["x"]}},
}
MUTATION: Final[Document] = {
    "apiVersion": "mutations.gatekeeper.sh/v1",
    "kind": "Assign",
    "metadata": {"name": "x", "labels": {"a": "b"}, "annotations": {"a": "b"}},
    "spec": {"location": "spec.x", "match": {"excludedNamespaces": ["a"]}, "parameters": {"assign": {"value": 1}}},
}

# An exemption that does not tell whom it is for may be for anybody: that has a test of its own.
EVERYBODY: Final = "everybody"
WRONG: Final[Mapping[type, Json]] = {bool: True, int: 2**70, str: NAME, list: [[1]], dict: {"a": {"b": 1}}}


@dataclass(frozen=True, slots=True)
class Fields:
    """A kind of document: how it is put into the world, and what a wrong type at its fields ends with.

    `otherwise` are the fields, by the start of their path, for which the end is not the usual one.
    """

    base: Document
    putting: Callable[[Document], Put]
    end: str
    otherwise: Mapping[str, str] = field(default_factory=dict)

    def cases(self, kind: str) -> Iterator[tuple[str, tuple[Case, ...]]]:
        """For every field a case with each type that is not the field's own."""
        for path in list(places(self.base))[1:]:
            spelled = spell(path)
            end = self.otherwise.get(spelled, self.end)
            says = last_key(path) if end == self.end else ""
            wrong = [value for kind_of_it, value in WRONG.items() if kind_of_it is not type(at(self.base, path))]
            if end != EVERYBODY:
                yield (
                    f"{kind}: {spelled}",
                    tuple(Case(self.putting(self.with_at(path, each)), end, says) for each in wrong),
                )

    def with_at(self, path: tuple[str | int, ...], value: Json) -> Document:
        """The document with another value at a path."""
        document = copy.deepcopy(self.base)
        put(document, path, value)
        return document


def at(container: Json, path: tuple[str | int, ...]) -> Json:
    """What is at a path."""
    for step in path:
        match container, step:
            case dict(), str():
                container = container[step]
            case list(), int():
                container = container[step]
    return container


def spell(path: tuple[str | int, ...]) -> str:
    """A path as messages spell it."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def last_key(path: tuple[str | int, ...]) -> str:
    """The name that a reason must not leave out."""
    return re.escape(next(step for step in reversed(path) if isinstance(step, str)))


def beside(kind: str) -> Callable[[Document], Put]:
    """Puts a changed document into the world together with the others that it goes with."""
    others = [each for name, each in RESOURCES.items() if name != kind]
    return lambda changed: documents(changed, *others)


def carried_as(put_text: Callable[[str], Put]) -> Callable[[Document], Put]:
    """Puts a changed document into the world as what a definition carries."""
    return lambda changed: put_text(json.dumps(changed))


def below(base: Document, *starts: str) -> list[str]:
    """The fields whose path starts like one of these."""
    return [spell(path) for path in places(base) if spell(path).startswith(starts)]


RULE: Final = "properties.policyRule"
COUNT: Final = f"{RULE}.if.allOf[2]"
IDENTITY: Final = {"id": INPUT_ERROR, "type": INPUT_ERROR}
FIELDS: Final = {
    "assignment": Fields(
        ASSIGNMENT,
        beside("assignment"),
        "Unreadable",
        {**IDENTITY, "properties.parameters.effect.value": "Parameter"},
    ),
    "initiative": Fields(
        INITIATIVE,
        beside("initiative"),
        "Unreadable",
        {
            **IDENTITY,
            "name": "deny",
            # The assignment gives a value, so that the default does not count.
            "properties.parameters.effect.defaultValue": "deny",
            "properties.policyDefinitions[0].parameters.effect.value": "Parameter",
        },
    ),
    "definition": Fields(
        DEFINITION,
        beside("definition"),
        "Unreadable",
        {
            **IDENTITY,
            "name": "deny",
            **dict.fromkeys(below(DEFINITION, "properties.parameters.effect.allowedValues["), "deny"),
            "properties.parameters.effect.defaultValue": "deny",
            "properties.parameters.name.allowedValues[0]": "deny",
            "properties.parameters.name.defaultValue": "Parameter",
            **dict.fromkeys(below(DEFINITION, f"{RULE}.if"), "RuleUnknown"),
            # What is compared may be of any type, and is just not the same.
            **dict.fromkeys(below(DEFINITION, f"{RULE}.if.allOf[0].equals", f"{COUNT}.equals"), "RuleNotMet"),
            **dict.fromkeys(below(DEFINITION, f"{COUNT}.count.value[", f"{COUNT}.count.where."), "RuleNotMet"),
            **dict.fromkeys(below(DEFINITION, f"{RULE}.if.allOf[1].not."), "deny"),
            **dict.fromkeys(below(DEFINITION, f"{RULE}.then"), "Effect"),
            **dict.fromkeys(below(DEFINITION, f"{RULE}.then.details"), "Details"),
            **dict.fromkeys(below(DEFINITION, f"{RULE}.then.details.values."), "Parameter"),
        },
    ),
    "exemption": Fields(
        EXEMPTION,
        beside("exemption"),
        "Unreadable",
        {**IDENTITY, "name": "deny", **dict.fromkeys(("properties", "properties.policyAssignmentId"), EVERYBODY)},
    ),
    "template": Fields(
        TEMPLATE,
        carried_as(template),
        "TemplateMalformed",
        # What stands in these is Gatekeeper's to judge.
        dict.fromkeys(below(TEMPLATE, "spec.targets", "spec.crd.spec.validation"), "deny"),
    ),
    "constraint file": Fields(
        CONSTRAINT,
        carried_as(constraint),
        "TemplateMalformed",
        {"metadata.name": "deny", **dict.fromkeys(below(CONSTRAINT, "spec.parameters."), "Parameter")},
    ),
    "mutator": Fields(
        MUTATION,
        carried_as(mutation),
        "TemplateMalformed",
        dict.fromkeys(below(MUTATION, "spec.location", "spec.parameters"), "mutate"),
    ),
}


# --- ids, names and letters ------------------------------------------------------------------------------------------

STRANGE: Final = {
    "a line break": "a\nb",
    "a null byte": "a\0b",
    "an escape": "\x1b[2Ja",
    "a right-to-left override": "a\u202eb",
    "a zero-width joiner": "a\u200db",
    "half a pair": "a\ud800b",
    "a hundred thousand letters": "a" * 100_000,
    "other digits": "\uff11.\uff10.\uff10",
    "an emoji": "\U0001f4a3",
    "a combining page": "a" + "\u0301" * 5_000,
}
PRINTABLE: Final = ("a hundred thousand letters", "other digits", "an emoji", "a combining page")


def assigned(*, of: str = definition_id(NAME), **properties: Json) -> Document:
    """An assignment with these properties, null for none."""
    return with_properties(make_assignment(NAME, of=of, effect="Deny"), properties)


def plain_definition(name: str = NAME, **properties: Json) -> Document:
    """A definition with nothing wrong about it but these properties."""
    return with_properties(make_definition(name, details=hostile_details()), properties)


def strange_ids() -> Iterator[tuple[str, Case]]:
    """Names that do strange things to terminals and files, in every place that has a name."""
    for what, name in STRANGE.items():
        identified = documents({**assigned(), "id": f"{assignment_id(NAME)}{name}"}, plain_definition())
        yield f"the id of an assignment has {what}", Case(identified, "deny" if what in PRINTABLE else "Unreadable")
        unreadable = what == "half a pair"
        shown = documents(assigned(displayName=name), plain_definition(displayName=name))
        yield f"display names have {what}", Case(shown, "Unreadable" if unreadable else "deny")
        member = make_initiative(make_reference(name, definition_id("nowhere")), name=NAME)
        end = "Unreadable" if unreadable else "DefinitionMissing"
        yield f"a reference id has {what}", Case(documents(assigned(of=initiative_id(NAME)), member), end)
        stray = make_assignment(NAME, of=definition_id(NAME), effect="Deny", parameters={name: 1})
        yield (
            f"a parameter that nobody declares has {what}",
            Case(documents(stray, plain_definition()), "Unreadable" if unreadable else "deny"),
        )
        keyed = defined(hostile_details(**{name: 1}))
        yield f"a key of the details has {what}", Case(keyed, "Unreadable" if unreadable else "Details")


NO_IDS: Final = ("nowhere", "x/providers/Microsoft.Authorization/policyDefinitions/y", "//", "/", "../..", "?", "\n")
NO_SCOPES: Final = ("shop", "https://portal.azure.com", "..\\..", " ", "subscriptions/x", "\0")
IDS: Final = {
    **{f"a definition id is {each!r}": documents(assigned(of=each)) for each in NO_IDS},
    **{
        f"a member's definition id is {each!r}": documents(
            assigned(of=initiative_id(NAME)), make_initiative(make_reference(of=each), name=NAME)
        )
        for each in NO_IDS
    },
    **{f"a scope is {each!r}": documents(assigned(scope=each), plain_definition()) for each in NO_SCOPES},
    **{
        f"notScopes has {each!r}": documents(assigned(notScopes=[each]), plain_definition())
        for each in ("", *NO_SCOPES)
    },
}
UNSTATED: Final = {"id": None, "type": None}
TELLS_NOTHING: Final = {
    "an id that is relative": {**assigned(), "id": "hostile"},
    "an id that is a URL": {**assigned(), "id": "https://management.azure.com/hostile"},
    "an id that is empty": {**assigned(), "id": ""},
    "neither id nor type": {**assigned(), **UNSTATED},
    "a type of ours and no id": {**assigned(), "id": None},
    "a cluster's type and another's id": {**make_cluster(), "id": assignment_id(NAME)},
    "a cluster's type and no id": {**make_cluster(), "id": None},
    "no keys at all": {},
}

# --- versions --------------------------------------------------------------------------------------------------------

NO_VERSIONS: Final = (
    *("latest", "1", "1.*", "*", "*.*.*", "1.2", "1.2.3.4", "v1.0.0", "-1.0.0", "1.0.0-beta", "1.0.0+build"),
    *("1..0", "1.0.", "0x1.0.0", "1e3.0.0", "\uff11.0.0", "\u0661.*.*", "1.0.0-preview-deprecated", "9" * 1000),
    *("1.0.0\n1.0.0", "1.0.9999999999", "1,0,0", "NaN.0.0", "1.0.0;DROP TABLE", "[parameters('version')]"),
)
ABSENT_VERSIONS: Final = ("2.0.0", "0.*.*", "1.1.*", "999999999.999999999.999999999")
VERSIONS: Final = {
    **{
        f"a definition's version is {each[:40]!r}": Case(
            documents(assigned(), plain_definition(version=each)), "Unreadable", "version must be like"
        )
        for each in NO_VERSIONS
    },
    **{
        f"the version asked for is {each[:40]!r}": Case(
            documents(assigned(definitionVersion=each), plain_definition()), "VersionMissing", "is not a version"
        )
        for each in NO_VERSIONS
    },
    **{
        f"the version asked for is not there: {each}": Case(
            documents(assigned(definitionVersion=each), plain_definition()), "VersionMissing", "only 1.0.0"
        )
        for each in ABSENT_VERSIONS
    },
}

# --- initiatives -----------------------------------------------------------------------------------------------------

A, B, C = (initiative_id(name) for name in (NAME, "hostile-b", "hostile-c"))


def circle(*names: str) -> list[Document]:
    """Initiatives each of which is a member of the one before it, and the first one of the last."""
    return [
        make_initiative(make_reference("next", initiative_id(after)), name=name)
        for name, after in zip(names, [*names[1:], names[0]], strict=True)
    ]


def members(*references: Document) -> Put:
    """An assigned initiative with these members."""
    return documents(assigned(of=A), make_initiative(*references, name=NAME), plain_definition())


INITIATIVES: Final = {
    "an initiative in itself": Case(
        documents(assigned(of=A), *circle(NAME)), "DefinitionMissing", "does not allow in another"
    ),
    "two initiatives in each other": Case(
        documents(assigned(of=A), *circle(NAME, "hostile-b")), "DefinitionMissing", "does not allow in another"
    ),
    "three initiatives in a circle": Case(
        documents(assigned(of=A), *circle(NAME, "hostile-b", "hostile-c")),
        "DefinitionMissing",
        "does not allow in another",
    ),
    "an initiative that is not there": Case(
        documents(assigned(of=A)), "DefinitionMissing", "the initiative .* is missing"
    ),
    "a definition that is not there": Case(documents(assigned()), "DefinitionMissing", "the definition .* is missing"),
    "a member that is not there": Case(
        members(make_reference(of=definition_id("nowhere"))), "DefinitionMissing", "the definition .* is missing"
    ),
    "an initiative without members": Case(
        documents(assigned(of=A), with_properties(INITIATIVE, {"policyDefinitions": []})), NOTHING
    ),
    "a member without a reference id and a definition": Case(
        members(make_reference("", of="")), "Unreadable", "policyDefinitionId is missing"
    ),
    "three hundred members with one reference id": Case(
        members(*[make_reference("one", definition_id("nowhere"))] * 300), "DefinitionMissing Unreadable"
    ),
    "a mapping without a value": Case(
        members({**make_reference(of=definition_id(NAME)), "parameters": {"effect": {}}}),
        "Unreadable",
        "has no 'value'",
    ),
    "a mapping that refers to itself": Case(
        documents(
            assigned(of=A),
            make_initiative(
                make_reference(of=definition_id(NAME), parameters={"effect": "[parameters('nowhere')]"}),
                name=NAME,
            ),
            plain_definition(),
        ),
        "Parameter",
        "the initiative's value for parameter 'effect'",
    ),
    "names of parameters that differ in case alone": Case(
        defined(parameters={"Name": make_parameter("String"), "name": make_parameter("String")}),
        "Unreadable",
        "Azure ignores case",
    ),
    "values of parameters that differ in case alone": Case(
        documents(
            make_assignment(NAME, of=definition_id(NAME), parameters={"Effect": "Deny", "effect": "Audit"}),
            plain_definition(),
        ),
        "Unreadable",
        "Azure ignores case",
    ),
}

# --- expressions -----------------------------------------------------------------------------------------------------


def call(name: str, *arguments: str) -> str:
    """A call of a function."""
    return f"{name}({','.join(arguments)})"


BIG: Final = "padLeft('', 4000000, 'a')"
LONG: Final = "parameters('long')"
MANY: Final = 20_000
EXPRESSIONS: Final[Mapping[str, tuple[str, str]]] = {
    "empty": ("[]", "empty"),
    "blank": ("[ ]", "empty"),
    "never closed": ("[concat('a', 'b']", "expected"),
    "a string never closed": ("[concat('a)]", "never closed"),
    "twice": ("[concat('a')][concat('b')]", "expected the end"),
    "a bare word": ("[hostile]", "expected"),
    "a comma too many": ("[concat('a',)]", "expected a function call"),
    "a null byte": ("[con\0cat('a')]", "unexpected character"),
    "a right-to-left override": ("[\u202econcat('a')]", "unexpected character"),
    "look-alike letters": ("[\u0441oncat('a')]", "unexpected character"),
    "nested too deeply": (f"[{'concat(' * 65}'a'{')' * 65}]", "deeper than Azure's 64"),
    "nested without end": (f"[{'concat(' * 10_000}]", "deeper than Azure's 64"),
    "too long": (f"[concat('{'a' * 82_000}')]", "more than Azure's 81,920"),
    "too many calls": (f"[{call('concat', *['trim(1)'] * 2_048)}]", "more function calls"),
    "one step too many": (f"[parameters('object'){'.a' * 200}]", "no property 'a'"),
    "an unknown function": ("[frobnicate('a')]", "not a function that azpolicy knows"),
    "a forbidden function": ("[resourceId('a', 'b')]", "may not be used"),
    "a listing": ("[listKeys('a', 'b')]", "may not be used"),
    "a function of Azure alone": ("[uniqueString('a')]", "by Azure"),
    "a lambda": ("[map(createArray(1), lambda('x', 1))]", "lambda"),
    "a field of the cluster": ("[field('type')]", "'if' of a policy rule"),
    "an element of no count": ("[current()]", "'where' of a count"),
    "a parameter that is not there": ("[parameters('nowhere')]", "has no value"),
    "a parameter named by another that is not there": ("[parameters(parameters('nowhere'))]", "has no value"),
    "too many arguments": ("[trim('a', 'b')]", "takes 1 argument"),
    "too few arguments": ("[replace('a')]", "takes 3 arguments"),
    "a wrong argument": ("[trim(1)]", "must be a string"),
    "a division by zero": ("[div(1, 0)]", "division by zero"),
    "a remainder of zero": ("[mod(1, 0)]", "division by zero"),
    "an integer beyond 64 bits": ("[add(9223372036854775807, 1)]", "64 bits"),
    "a literal beyond 64 bits": (f"[add({'9' * 1000}, 1)]", "64 bits"),
    "a number that is none": ("[float('NaN')]", "not a number"),
    "a number without end": ("[float('1e999')]", "too large"),
    "digits and then none": (f"[float('{'1' * 80_000}x')]", "not a number"),
    "an index beyond the end": ("[parameters('array')[9]]", "outside the array"),
    "an index below zero": ("[parameters('array')[-1]]", "outside the array"),
    "a key of a list": ("[parameters('array').a]", "has no property"),
    "a range of too many": ("[range(0, 10001)]", "not from 0 to 10,000"),
    "a range below zero": ("[range(0, -1)]", "not from 0 to 10,000"),
    "a character cut in two": ("[substring('\U0001f4a3', 0, 1)]", "cut a character in two"),
    "a format of a huge number": ("[format('{0:N2}', parameters('digits'))]", "too many digits"),
    "a stray brace": ("[format('{', 1)]", "stray brace"),
    "a date of no calendar": ("[addDays('2026-02-30T00:00:00Z', 1)]", "not between the years 1 and 9999"),
    "a date beyond the last": (
        "[addDays('2026-01-01T00:00:00Z', 9223372036854775807)]",
        "not between the years 1 and 9999",
    ),
    "not base64": ("[base64ToString('%%%')]", "not base64"),
    "not a network": ("[parseCidr('10.0.0.0/99')]", "not a network"),
    "JSON that is none": ("[json('{')]", "not JSON"),
    "JSON of no number": ("[json('NaN')]", "not JSON"),
    "JSON of a number without end": ("[json('1e999')]", "too large"),
    "JSON nested too deeply": (f"[json('{'[' * 150}{']' * 150}')]", "nested deeper"),
    "JSON nested more deeply": (f"[json('{'[' * 400}{']' * 400}')]", "nested deeper"),
    "JSON nested without end": (f"[json('{'[' * 30_000}')]", "not JSON"),
    "JSON with half a pair": ("[json('\"\\ud800\"')]", "half of a character"),
    "JSON with half a pair for a key": ("[json('{\"\\ud800\":1}')]", "half of a character"),
    "lists nested by calls": (f"[{'createArray(' * 60}json('{'[' * 60}{']' * 60}'){')' * 60}]", "nested deeper"),
    "a text that is padded for ever": ("[padLeft('a', 2000000000)]", "more than"),
    "a list of long texts": (f"[{call('createArray', *[BIG] * 200)}]", "more work"),
    "a list that multiplies": (
        f"[{call('createArray', *[call('createArray', *[LONG] * 40)] * 40)}]",
        "more work",
    ),
    "a long text again and again": (f"[{call('createArray', *[call('length', LONG)] * 400)}]", "more work"),
    "a text split at everything": (f"[split({BIG}, parameters('words'))]", "more work"),
}
PARAMETERS: Final[Mapping[str, Json]] = {
    "array": make_parameter("Array", defaultValue=[1]),
    "object": make_parameter("Object", defaultValue={"a": {}}),
    "digits": make_parameter("Integer", defaultValue=10**600),
    "long": make_parameter("String", defaultValue="a" * 100_000),
    "words": make_parameter("Array", defaultValue=[f"{index}-word" for index in range(5_000)]),
}
# Which arguments are missing is the reader's own affair; that each function says so is not.
UNCALLED: Final = {
    f"{name}() without arguments": f"[{name}()]" for name, function in FUNCTIONS.items() if function.least > 0
}
LARGE: Final[Mapping[str, Json]] = {
    "many": make_parameter("Array", defaultValue=[*range(MANY)]),
    "lists": make_parameter("Array", defaultValue=[[index] for index in range(MANY)]),
    "one": make_parameter("Object", defaultValue={f"a{index}": index for index in range(MANY)}),
    "other": make_parameter("Object", defaultValue={f"b{index}": index for index in range(MANY)}),
}
LONG_CALLS: Final = (
    "length(union(parameters('one'), parameters('other')))",
    "length(intersection(parameters('one'), parameters('other')))",
    "length(shallowMerge(createArray(parameters('one'), parameters('other'))))",
    "indexOf(parameters('lists'), parameters('many'))",
    "lastIndexOf(parameters('lists'), parameters('many'))",
    call("length", call("createObject", *(f"'{index}',1" for index in range(1_000)))),
    call("length", call("union", *["parameters('many')"] * 5)),
)
ODD_VALUES: Final[Mapping[str, Json]] = {
    "beyond 64 bits": 2**70,
    "of four thousand digits": 10**4000,
    "zero below zero": -0.0,
    "the largest there is": 1.7976931348623157e308,
    "the smallest there is": 5e-324,
    "an escaped bracket": "[[parameters('x')]",
    "a bracket at the start alone": "[",
    "brackets within": "a[parameters('nowhere')]b",
    "nested deeply": deep(80),
    "keys like nothing else": {"": 1, " ": 2, "\0": 3, "a.b": 4, "<<": 5, "__proto__": 6, "\u202e": 7},
    "a list of twenty thousand": [*range(MANY)],
    "words of YAML": [
        "yes",
        "no",
        "null",
        "~",
        "1e3",
        "0x1f",
        "2001-01-01",
        "!!python/object",
        "&a",
        "*a",
        "- a",
        "---",
    ],
}


def expressions() -> Iterator[tuple[str, Case]]:
    """Expressions that cannot be worked out, those that take long if done badly, and values that are just odd."""
    for what, (expression, says) in EXPRESSIONS.items():
        end = "Parameter" if "that is not there" in what else "Expression"
        yield f"an expression: {what}", Case(valued(expression, PARAMETERS), end, says)
        yield f"an effect: {what}", Case(defined(effect=expression, parameters=PARAMETERS), end, says)
    for what, expression in UNCALLED.items():
        yield what, Case(valued(expression), "Expression", r"takes (at least )?\d")
    for call in LONG_CALLS:
        yield f"a long call: {call[:80]}", Case(valued(f"[{call}]", LARGE), "deny")
    for what, value in ODD_VALUES.items():
        yield f"a value: {what}", Case(valued(value, {"name": make_parameter("String", defaultValue="a")}), "deny")


# --- the rule --------------------------------------------------------------------------------------------------------


def nots(levels: int) -> Json:
    """A condition negated many times."""
    condition: Json = {"field": "type", "equals": "x"}
    for _ in range(levels):
        condition = {"not": condition}
    return condition


def counts(levels: int) -> Json:
    """Counts of ten thousand within one another."""
    condition: Json = {"value": "[current()]", "equals": -1}
    for _ in range(levels):
        condition = {"count": {"value": "[range(0, 10000)]", "where": condition}, "greater": 0}
    return condition


CONDITIONS: Final[Mapping[str, tuple[Json, str, str]]] = {
    "empty": ({}, "RuleUnknown", "must have one of"),
    "two subjects": ({"field": "type", "value": "a", "equals": "a"}, "RuleUnknown", "must have one of"),
    "two conditions": ({"field": "type", "equals": "a", "like": "a"}, "RuleUnknown", "must have one of"),
    "not a condition": ({"field": "type"}, "RuleUnknown", "must have one of"),
    "keys that differ in case alone": ({"field": "a", "Field": "b", "equals": "c"}, "RuleUnknown", "must have one of"),
    "an unknown condition": ({"field": "type", "resembles": "a"}, "RuleUnknown", "not a condition that azpolicy knows"),
    "an empty list of conditions": ({"allOf": []}, "RuleUnknown", "list of conditions"),
    "an alias": ({"field": "Microsoft.Compute/virtualMachines/size", "equals": "a"}, "RuleUnknown", "alias"),
    "an alias of an array": ({"count": {"field": "a[*]"}, "equals": 1}, "RuleUnknown", "alias"),
    "a field of no name": ({"field": "", "equals": "a"}, "RuleUnknown", "alias"),
    "a tag of no name": ({"field": "tags[", "equals": "a"}, "RuleUnknown", "alias"),
    "an expression that fails": ({"value": "[nope()]", "equals": 1}, "RuleUnknown", "not a function"),
    "like with two stars": ({"field": "type", "like": "*a*"}, "RuleUnknown", "one \\* at most"),
    "like nothing at all": ({"field": "type", "like": {}}, "RuleUnknown", "like takes a string"),
    "match of no pattern": ({"field": "type", "match": ["#"]}, "RuleUnknown", "match takes a string"),
    "match of what would be a regular expression": ({"value": "aaaa", "match": "(a+)+$"}, "RuleNotMet", "not met"),
    "match of half a million letters": ({"value": "a" * 500_000, "match": "?" * 500_000}, "deny", ""),
    "in of no list": ({"field": "type", "in": "a"}, "RuleUnknown", "in takes an array"),
    "in of many objects": (
        {"value": {f"k{index}": 1 for index in range(5_000)}, "in": [{} for _ in range(MANY)]},
        "RuleNotMet",
        "not met",
    ),
    "exists neither true nor false": ({"field": "type", "exists": "maybe"}, "RuleUnknown", "true or false"),
    "an order of unlike things": ({"field": "type", "less": 5}, "RuleUnknown", "have no order"),
    "negated ninety times": (nots(90), "RuleNotMet", "not met"),
    "negated without end": (nots(900), "Unreadable", "nested deeper"),
    "a count of no array": ({"count": {"value": "a"}, "equals": 1}, "RuleUnknown", "must be an array"),
    "a count of what is not known": (
        {"count": {"value": ["a"], "where": {"value": "[current('other')]", "equals": 1}}, "equals": 1},
        "RuleUnknown",
        "not the name of a count around it",
    ),
    "counts within counts": (counts(3), "RuleUnknown", "more work"),
    "counts within counts without end": (counts(20), "RuleUnknown", "more work"),
}
EFFECTS: Final[Mapping[str, tuple[Json, str]]] = {
    "none": (None, "Effect"),
    "empty": ("", "Effect"),
    "of another mode": ("deployIfNotExists", "Effect"),
    "of another time": ("EnforceOPAConstraint", "LegacyForm"),
    "in capitals": ("DENY", "deny"),
    "in no case": ("dEnY", "deny"),
    "with a space": ("deny ", "Effect"),
    "with other letters": ("d\u0435ny", "Effect"),
    "with a null byte": ("deny\0", "Effect"),
    "a page": ("deny" * 50_000, "Effect"),
    "of a mutation": ("Mutate", "Effect"),
    "disabled": ("Disabled", "Disabled"),
}


def rules() -> Iterator[tuple[str, Case]]:
    """Conditions and effects."""
    for what, (condition, end, says) in CONDITIONS.items():
        yield f"a condition: {what}", Case(defined(condition=condition), end, says)
    for what, (effect, end) in EFFECTS.items():
        yield f"the effect is {what}", Case(defined(effect=effect), end)


# --- details ---------------------------------------------------------------------------------------------------------


def selector(key: Json = "a", operator: Json = "In", values: Json = None) -> Json:
    """A label selector of one expression."""
    return {"matchExpressions": [{"key": key, "operator": operator, "values": values}]}


BAD_SELECTORS: Final[Mapping[str, Json]] = {
    "of unknown parts": {"matchFields": []},
    "in the wrong case": {"MatchLabels": {}},
    "with a key of two slashes": {"matchLabels": {"a/b/c": "d"}},
    "with a key of capitals before the slash": {"matchLabels": {"A.b/c": "d"}},
    "with an empty key": {"matchLabels": {"": "d"}},
    "with a long key": {"matchLabels": {"a" * 64: "d"}},
    "with a long value": {"matchLabels": {"a": "d" * 64}},
    "with a line break": {"matchLabels": {"a": "d\n"}},
    "with a regular expression": selector(values=["(a+)+$"]),
    "that explodes": {"matchLabels": {"a": "a" * 100_000 + "!"}},
    "In nothing": selector(),
    "In an empty list": selector(values=[]),
    "NotIn nothing": selector(operator="NotIn"),
    "Exists with values": selector(operator="Exists", values=["b"]),
    "DoesNotExist with values": selector(operator="DoesNotExist", values=["b"]),
    "with the operator of a field": selector(operator="Gt", values=["1"]),
    "with an operator in small letters": selector(operator="in", values=["b"]),
}
DETAILS_CASES: Final[Mapping[str, tuple[Json, str]]] = {
    "a list": ([], "an object"),
    "empty": ({}, "one of"),
    "without a template": (hostile_details(templateInfo=None), "has none of them"),
    "with a template and a mutation": (
        hostile_details(mutationInfo=public("mutation")),
        "templateInfo and mutationInfo",
    ),
    "with a key in two spellings": (hostile_details(Kinds=["Pod"]), "appears twice"),
    "with a key of its own": (hostile_details(hostile=1), "not known to azpolicy"),
    "for every kind": (hostile_details(kinds=["*"]), "name each one"),
    "for no kind": (hostile_details(kinds=[]), "name each one"),
    "for every group": (hostile_details(apiGroups=["*"]), "name each one"),
    "without kinds": (hostile_details(kinds=None), "is missing"),
    "with a source of no name": (hostile_details(source="Everything"), "one of All"),
    "with a scope of no name": (hostile_details(scope="Galaxy"), "one of"),
    "with a template of no source": (hostile_details(templateInfo={}), "PublicURL or Base64Encoded"),
    "with a template of no address": (hostile_details(templateInfo={"sourceType": "PublicURL", "url": ""}), "a URL"),
    "with a template of no content": (
        hostile_details(templateInfo={"sourceType": "Base64Encoded", "content": ""}),
        "Base64 text",
    ),
    "with kinds that are null in the end": (hostile_details(kinds="[null()]"), "must be given"),
    "with kinds that are a text in the end": (hostile_details(kinds="[concat('P', 'od')]"), "a list of strings"),
    "with a list of a hundred thousand numbers": (hostile_details(namespaces=[*range(100_000)]), "must be a string"),
    **{f"with a selector {what}": (hostile_details(labelSelector=each), "") for what, each in BAD_SELECTORS.items()},
}
ADDRESSES: Final = (
    *(
        "file:///etc/passwd",
        "http://169.254.169.254/latest",
        "//store.policy.core.windows.net/kubernetes/x",
        "javascript:1",
    ),
    *(
        "https://store.policy.core.windows.net.example.com/kubernetes/hostile/v1/template.yaml",
        "hostile",
        "\\\\host\\share",
    ),
    *(
        "https://example.com@store.policy.core.windows.net/../etc/passwd",
        "https://[::1/kubernetes/hostile",
        "a" * 100_000,
    ),
    *(
        f"https://store.policy.core.windows.net/kubernetes/{each}/v1/template.yaml"
        for each in ("..", ".", "%2e%2e", "a//b")
    ),
    *(
        f"https://store.policy.core.windows.net/kubernetes/{each}/v1/template.yaml"
        for each in ("a\0b", "a\nb", "nowhere")
    ),
    f"https://store.policy.core.windows.net/kubernetes/{'a' * 5_000}/v1/template.yaml",
    "https://store.policy.core.windows.net/kubernetes/hostile/v1/../../healthy/v1/template.yaml",
)


def details() -> Iterator[tuple[str, Case]]:
    """What a definition says about its template and what that looks at."""
    for what, (given, says) in DETAILS_CASES.items():
        yield f"details {what}", Case(defined(given), "Details", says)
    for address in ADDRESSES:
        source: Json = {"sourceType": "PublicURL", "url": address}
        put_address = defined(hostile_details(templateInfo=source))
        yield f"a template at {address[:60]!r}, {len(address)} letters", Case(put_address, "TemplateUnavailable")


# --- assignments and exemptions --------------------------------------------------------------------------------------


def override(kind: str = "policyEffect", value: str = "Audit", **selectors: Json) -> Json:
    """An override for what one selector chooses."""
    return [
        {"kind": kind, "value": value, "selectors": [{"kind": key, "in": named} for key, named in selectors.items()]}
    ]


def exempted(**properties: Json) -> Put:
    """An exemption of the hostile assignment with these properties."""
    return documents(assigned(), plain_definition(), with_properties(EXEMPTION, properties))


ASSIGNMENTS: Final = {
    "an enforcement mode of no name": Case(
        documents(assigned(enforcementMode="Maybe"), plain_definition()), "EnforcementModeUnknown", "must be one of"
    ),
    "an enforcement mode in capitals": Case(documents(assigned(enforcementMode="DEFAULT"), plain_definition()), "deny"),
    "an override of no kind that is known": Case(
        documents(assigned(overrides=override("policyMood")), plain_definition()), "OverrideUnknown", "not known"
    ),
    "an override for what only Azure knows": Case(
        documents(assigned(overrides=override(resourceMoon=["full"])), plain_definition()), "OverrideUnknown"
    ),
    "an override to an effect of no name": Case(
        documents(assigned(overrides=override(value="Explode")), plain_definition()), "Effect"
    ),
    "an override to a version of no name": Case(
        documents(assigned(overrides=override("definitionVersion", "latest")), plain_definition()), "VersionMissing"
    ),
    "a selector with both lists": Case(
        documents(
            assigned(resourceSelectors=[{"selectors": [{"kind": "resourceType", "in": ["a"], "notIn": ["b"]}]}]),
            plain_definition(),
        ),
        "SelectorUnknown",
        "either 'in' or 'notIn'",
    ),
    "a selector with neither list": Case(
        documents(assigned(resourceSelectors=[{"selectors": [{"kind": "resourceType"}]}]), plain_definition()),
        "SelectorUnknown",
        "either 'in' or 'notIn'",
    ),
    "a management group that nobody knows to be above": Case(
        documents(assigned(notScopes=[MANAGEMENT_GROUP]), plain_definition()), "ScopeUnknown", "is not known"
    ),
    "ids in capitals": Case(
        documents(
            {**assigned(of=definition_id(NAME).upper()), "type": "MICROSOFT.AUTHORIZATION/POLICYASSIGNMENTS"},
            plain_definition(),
        ),
        "deny",
    ),
    "two definitions that only Python takes for one": Case(
        documents(
            assigned(of=definition_id("hostile-stra\u00dfe")),
            make_definition("hostile-stra\u00dfe", details=hostile_details()),
            make_definition("hostile-strasse", effect="Audit", details=hostile_details()),
        ),
        "deny",
    ),
    "the same document twice": Case(documents(assigned(), assigned(), plain_definition()), "deny"),
    "two documents under one id": Case(
        documents(assigned(), assigned(displayName="other"), plain_definition()), INPUT_ERROR, "different content"
    ),
    "two documents under one id in another case": Case(
        documents(assigned(), {**assigned(displayName="other"), "id": assignment_id(NAME).upper()}), INPUT_ERROR
    ),
    "a document twice, once unreadable": Case(
        documents(assigned(), assigned(parameters=7), plain_definition()), "Unreadable", "must be an object"
    ),
    "a definition twice, once unreadable": Case(
        documents(assigned(), plain_definition(), plain_definition(parameters=7)), "Unreadable", "must be an object"
    ),
    "properties that are not there": Case(documents({**assigned(), "properties": {}}), "Unreadable", "is missing"),
    "a rule that is not there": Case(
        documents(assigned(), plain_definition(policyRule={})), "Unreadable", "is missing"
    ),
    "a mode of no name": Case(documents(assigned(), plain_definition(mode="Microsoft.Hostile.Data")), "OtherMode"),
    "a parameter of no type that there is": Case(
        defined(parameters={"x": make_parameter("Secret", defaultValue=1)}), "Parameter", "does not have"
    ),
    "a default of null": Case(
        defined(
            hostile_details(values={"x": "[parameters('x')]"}),
            parameters={"x": make_parameter("String", defaultValue=None)},
        ),
        "Parameter",
        "has no value",
    ),
    "five thousand parameters that nobody declares": Case(
        defined(given={f"p{index}": index for index in range(5_000)}), "deny"
    ),
    "a hundred thousand values that are allowed": Case(
        defined(
            parameters={"x": make_parameter("String", defaultValue="x", allowedValues=[*map(str, range(100_000))])}
        ),
        "deny",
    ),
    "a document nested too deeply": Case(documents({**assigned(), "tags": deep(200)}), "Unreadable", "nested deeper"),
    "a document nested too deeply and not ours": Case(
        documents({"id": f"{GROUP}/providers/Microsoft.Compute/disks/hostile", "tags": deep(200)}), NOTHING
    ),
    "a subscription that lies about its groups": Case(
        documents(
            {
                "id": SUBSCRIPTION,
                "type": "/subscriptions",
                "properties": {"tenantId": "t", "parentNameChain": [{}, None, 7, "t"]},
            },
            assigned(notScopes=["/providers/Microsoft.Management/managementGroups/T"]),
            plain_definition(),
        ),
        "NotScopes",
    ),
}
EXEMPTIONS: Final = {
    **{
        f"an exemption expires on {moment[:40]!r}": Case(exempted(expiresOn=moment), "Unreadable", "must be a date")
        for moment in (
            *("tomorrow", "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z", "10000-01-01T00:00:00Z", "2026-01-01", "0"),
            *(
                "\uff12\uff10\uff12\uff16-01-01T00:00:00Z",
                "2026-01-01T00:00:00+99:00",
                "2026-01-01T25:00:00Z",
                "9" * 9999,
            ),
        )
    },
    "an exemption expires at the end of time": Case(exempted(expiresOn="9999-12-31T23:59:59-14:00"), "Unreadable"),
    "an exemption of members without a name": Case(exempted(policyDefinitionReferenceIds=["", "*"]), "deny"),
    "an exemption of everything in an odd spelling": Case(
        exempted(policyDefinitionReferenceIds=[], policyAssignmentId=assignment_id(NAME).upper() + "/"), "Exempt"
    ),
    "an exemption of a hundred thousand members": Case(
        exempted(policyDefinitionReferenceIds=[f"r{index}" for index in range(100_000)]), "deny"
    ),
    "an exemption below the cluster that tells nothing": Case(
        documents(
            assigned(),
            plain_definition(),
            {
                **EXEMPTION,
                "id": "/subscriptions/other/providers/Microsoft.Authorization/policyExemptions/e",
                "properties": 7,
            },
        ),
        "deny",
    ),
    "many exemptions that do not parse": Case(
        documents(
            assigned(),
            plain_definition(),
            *(make_exemption(f"e{index}", of=assignment_id("nowhere"), expiresOn="never") for index in range(1_000)),
        ),
        "deny",
    ),
}


def told_apart() -> Iterator[tuple[str, Case]]:
    """Documents of which it cannot be told what they are: the snapshot as a whole is refused."""
    for what, document in TELLS_NOTHING.items():
        yield f"a document with {what}", Case(documents(document), INPUT_ERROR)


def named() -> Iterator[tuple[str, Case]]:
    """Ids that are no ids."""
    for what, putting in IDS.items():
        yield what, Case(putting, "Unreadable")


FIELD_CASES: Final = {name: cases for kind, fields in FIELDS.items() for name, cases in fields.cases(kind)}
DOCUMENT_CASES: Final[Mapping[str, Case]] = {
    **dict(strange_ids()),
    **dict(named()),
    **dict(told_apart()),
    **VERSIONS,
    **INITIATIVES,
    **dict(expressions()),
    **dict(rules()),
    **dict(details()),
    **ASSIGNMENTS,
    **EXEMPTIONS,
}
