"""Runs gator, Gatekeeper's own command line: as little as needed, on every core.

gator judges one object after the other and keeps each as data besides. So it gets no object that no constraint looks
at, and the rest in batches, with one gator for each core at a time: that is as fast as it gets, and gator's memory does
not grow with the input. What rules look up in others is given with every batch, for one alone to judge.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from controller.errors import InputError
from controller.gatekeeper.match_notes import includes
from controller.gatekeeper.model import Role
from controller.gatekeeper.rego import seeing_only

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from controller.gatekeeper.model import DesiredObject
    from controller.gatekeeper.syncset import DataKind

# How gator names a template or constraint that it does not take; it then judges nothing at all.
_REFUSED: Final = re.compile(r'adding (template|constraint) "([^"]+)": (.*)', re.DOTALL)
_LARGEST_EXACT: Final = 2**53  # beyond it gator rounds a whole number, as Kubernetes' own parser does
_SHARE: Final = 100  # objects, below which starting another process costs more than it saves
_BATCH: Final = 500  # objects of one process: it needs about 250 MB for them, and 0.1 s to start
_MAX_PROCESSES: Final = 8
_ANY: Final = "*"
# Half of a short run went into collecting garbage.
_ENVIRONMENT: Final = {"GOGC": "400"}


def find_gator(named: str) -> str:
    """The program's path; InputError where it is not there."""
    found = shutil.which(named)
    if found is None:
        raise InputError(
            f"{named} was not found: install gator from Gatekeeper's releases, or name it with --gator PATH"
        )
    return found


@dataclass(frozen=True, slots=True)
class Refusal:
    """A template or constraint that gator does not take, as Gatekeeper would not, and why."""

    policy: DesiredObject
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """gator's results by the policies that it takes, and the policies that it does not."""

    results: tuple[Mapping[str, Any], ...]
    refusals: tuple[Refusal, ...]


class _RefusedError(Exception):
    """gator took something that it was given for none of its kind."""

    def __init__(self, role: str, name: str, reason: str) -> None:
        super().__init__(reason)
        self.role = Role.TEMPLATE if role == "template" else Role.CONSTRAINT
        self.name = name


def ask(
    gator: str,
    policies: Sequence[DesiredObject],
    documents: Sequence[Mapping[str, Any]],
    replicated: frozenset[DataKind] = frozenset(),
) -> Answer:
    """gator's results for the documents, without the policies that it refuses: one bad policy costs only itself.

    `replicated` are the kinds that rules can look up in the cluster. gator takes all that it is given for replicated.

    A result names the object as it was given (`violatingObject`), so documents carry nothing that a rule could see.
    """
    refusals: list[Refusal] = []
    while True:
        try:
            return Answer(tuple(_judged(gator, policies, documents, replicated)), tuple(refusals))
        except _RefusedError as error:
            refused = [each for each in policies if (each.role, each.ref.name) == (error.role, error.name)]
            if not refused:
                raise InputError(f"{gator} cannot judge: {error.name}: {error}") from None
            refusals += [Refusal(each, str(error)) for each in refused]
            policies = [each for each in policies if not _falls(each, refused)]


def looking_at(policies: Sequence[DesiredObject], documents: Sequence[Mapping[str, Any]]) -> tuple[DesiredObject, ...]:
    """The constraints that look at one of the documents, by their kinds and namespaces, and their templates.

    gator compiles every template that it is given, whoever looks at what. Rules: `pkg/mutation/match/match.go` of
    Gatekeeper. What is left out is not known to be refused.
    """
    constraints = (each for each in policies if each.role is Role.CONSTRAINT)
    seeing = {each.ref for each in constraints if any(_looks_at(each, document) for document in documents)}
    templates = {ref.kind.lower() for ref in seeing}
    return tuple(each for each in policies if each.ref in seeing or each.ref.name in templates)


def _looks_at(constraint: DesiredObject, document: Mapping[str, Any]) -> bool:
    """Whether a constraint's kinds and namespaces include a document; one without a namespace is in all of them."""
    spec: Any = constraint.manifest["spec"]
    namespaces = (spec.get("match") or {}).get("namespaces")
    namespace = document["metadata"].get("name" if document["kind"] == "Namespace" else "namespace")
    return _is_in(document, _kinds([constraint])) and (
        not namespaces or not namespace or any(includes(pattern, namespace) for pattern in namespaces)
    )


def _falls(policy: DesiredObject, refused: Sequence[DesiredObject]) -> bool:
    """Whether a policy is refused, or a constraint of a refused template."""
    templates = {each.ref.name for each in refused if each.role is Role.TEMPLATE}
    return policy in refused or (policy.role is Role.CONSTRAINT and policy.ref.kind.lower() in templates)


def _judged(
    gator: str,
    policies: Sequence[DesiredObject],
    documents: Sequence[Mapping[str, Any]],
    replicated: frozenset[DataKind],
) -> Iterator[Mapping[str, Any]]:
    looked_at = _kinds(policies)
    # Namespaces always, as a constraint can select by their labels.
    looked_up = frozenset({("", "Namespace"), *((kind.group, kind.kind) for kind in replicated)})
    judged = [d for d in documents if _is_in(d, looked_at)]
    if not judged:
        return
    shared = [d for d in documents if _is_in(d, looked_up)]
    processes = max(1, min(os.cpu_count() or 1, _MAX_PROCESSES, len(judged) // _SHARE))
    manifests = [
        seeing_only(each.manifest, replicated) if each.role is Role.TEMPLATE else each.manifest for each in policies
    ]
    with ThreadPoolExecutor(processes) as pool:
        batches = _batches(judged, processes, max(_BATCH, len(shared)))
        for results in pool.map(lambda batch: _run(gator, [*manifests, *_joined(batch, shared)]), batches):
            yield from results


def _batches(
    documents: Sequence[Mapping[str, Any]], processes: int, largest: int
) -> Sequence[Sequence[Mapping[str, Any]]]:
    """The documents in batches that take equally long, as many for each process.

    Each has as many of a kind as any other: judging a pod takes several times as long as judging its workload, which
    stands just before it.
    """
    rounds = math.ceil(len(documents) / (processes * largest))
    by_kind = sorted(documents, key=lambda document: (str(document["apiVersion"]), str(document["kind"])))
    return [by_kind[n :: processes * rounds] for n in range(processes * rounds)]


def content(document: object) -> str:
    """What tells one document from another in what gator gives back: its JSON, with numbers as gator writes them."""
    return json.dumps(_as_read(document), sort_keys=True)


def _as_read(node: object) -> object:
    match node:
        case dict():
            return {key: _as_read(value) for key, value in node.items()}
        case list():
            return [_as_read(value) for value in node]
        case int() if not isinstance(node, bool) and abs(node) > _LARGEST_EXACT:
            return float(node)
        case float() if node.is_integer() and abs(node) <= _LARGEST_EXACT:
            return int(node)
        case _:
            return node


def expand(gator: str, documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What gator makes of objects by the ExpansionTemplates and mutators among them; InputError where it cannot.

    https://open-policy-agent.github.io/gatekeeper/website/docs/gator#the-gator-expand-subcommand
    """
    ended = _ended([gator, "expand", "--format=json"], documents)
    if ended.returncode:
        raise _failure(gator, ended)
    decoder, found, rest = json.JSONDecoder(), [], ended.stdout.lstrip("-\n ")
    while rest:
        each, end = decoder.raw_decode(rest)
        found.append(each)
        rest = rest[end:].lstrip("-\n ")
    return found


def _run(gator: str, documents: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """One gator's results. It exits with 1 for a denial and for an error, so only its output distinguishes them."""
    ended = _ended([gator, "test", "--output=json"], documents)
    try:
        results: list[Mapping[str, Any]] | None = json.loads(ended.stdout)
    except ValueError:
        if refused := _REFUSED.search(ended.stderr):
            raise _RefusedError(refused[1], refused[2], " ".join(refused[3].split())) from None
        raise _failure(gator, ended) from None
    return results or []


def _ended(command: Sequence[str], documents: Sequence[Mapping[str, Any]]) -> subprocess.CompletedProcess[str]:
    """gator, which was given documents: JSON is YAML, and by far the fastest to write and to read."""
    stream = "\n---\n".join(json.dumps(document) for document in documents)
    try:
        return subprocess.run(  # noqa: S603 - the program that the user named
            command, input=stream, capture_output=True, text=True, check=False, env=_ENVIRONMENT | os.environ
        )
    except OSError as error:
        raise InputError(f"{command[0]} cannot be run: {error.strerror}") from error


def _failure(gator: str, ended: subprocess.CompletedProcess[str]) -> InputError:
    said = " ".join((ended.stderr or ended.stdout).split()) or f"exit code {ended.returncode}"
    return InputError(f"{gator} cannot judge: {said}")


def _kinds(policies: Sequence[DesiredObject]) -> frozenset[tuple[str, str]]:
    """Group and kind of what the constraints look at; `*` where they look at all."""
    found: set[tuple[str, str]] = set()
    for policy in policies:
        if policy.role is Role.CONSTRAINT:
            spec: Any = policy.manifest["spec"]
            everything = [{"apiGroups": [_ANY], "kinds": [_ANY]}]
            for entry in (spec.get("match") or {}).get("kinds") or everything:
                groups, kinds = entry.get("apiGroups") or [_ANY], entry.get("kinds") or [_ANY]
                found.update((group, kind) for group in groups for kind in kinds)
    return frozenset(found)


def _is_in(document: Mapping[str, Any], kinds: frozenset[tuple[str, str]]) -> bool:
    group, kind = str(document["apiVersion"]).rpartition("/")[0], str(document["kind"])
    return not kinds.isdisjoint({(group, kind), (_ANY, kind), (group, _ANY), (_ANY, _ANY)})


def _joined(share: Sequence[Mapping[str, Any]], shared: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A share, and what rules look up in others without what the share has itself."""
    own = {_identity(document) for document in share}
    return [*share, *(document for document in shared if _identity(document) not in own)]


def _identity(document: Mapping[str, Any]) -> tuple[str, ...]:
    metadata = document["metadata"]
    return (
        str(document["apiVersion"]),
        str(document["kind"]),
        str(metadata.get("namespace", "")),
        str(metadata.get("name")),
    )
