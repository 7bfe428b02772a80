"""What Gatekeeper's mutators would make of pods, by gator itself.

gator mutates what it expands and nothing else (https://github.com/open-policy-agent/gatekeeper/issues/2847). So each
pod is given to it as the template of an object of a kind that exists nowhere, and taken back from that.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from controller.check.gator import expand
from controller.cluster.foreign import mapping_at, text_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Document = Mapping[str, Any]

_GROUP: Final = "forecast.azpolicy.dev"
_EXPANSION: Final = {
    "apiVersion": "expansion.gatekeeper.sh/v1beta1",
    "kind": "ExpansionTemplate",
    "metadata": {"name": "forecast"},
    "spec": {
        "applyTo": [{"groups": [_GROUP], "versions": ["v1"], "kinds": ["Candidate"]}],
        "templateSource": "spec.template",
        "generatedGVK": {"group": "", "version": "v1", "kind": "Pod"},
    },
}
_MUTATED: Final = ("labels", "annotations")


def usable(mutators: Sequence[Document]) -> tuple[list[Document], list[str]]:
    """The mutators that see a pod when it is made, for gator; and a note on each of those that it cannot do.

    What it expands is Generated to it, though these pods are made by a controller and so Original.
    """
    kept: list[Document] = []
    notes: list[str] = []
    for mutator in mutators:
        if text_at(mutator, "spec", "match", "source") == "Generated":
            continue
        name = f"{text_at(mutator, 'kind')}/{text_at(mutator, 'metadata', 'name')}"
        if "externalData" in json.dumps(mapping_at(mutator, "spec", "parameters")):
            notes.append(f"mutator {name}: it asks an external data provider, which gator cannot do: it is left out")
            continue
        match = {**mapping_at(mutator, "spec", "match"), "source": "All"}
        kept.append({**mutator, "spec": {**mapping_at(mutator, "spec"), "match": match}})
    return kept, notes


def mutated(
    gator: str, mutators: Sequence[Document], namespaces: Sequence[Document], pods: Sequence[Document]
) -> list[Document]:
    """The pods in their order as the mutators leave them: names, owners and the like stay as they are."""
    if not mutators:
        return list(pods)
    parents = [_parent(number, pod) for number, pod in enumerate(pods)]
    made = {
        text_at(each, "metadata", "name"): each
        for each in expand(gator, [_EXPANSION, *mutators, *namespaces, *parents])
    }
    return [_taken_back(pod, made[f"c{number}-pod"]) for number, pod in enumerate(pods)]


def _parent(number: int, pod: Document) -> Document:
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "Candidate",
        "metadata": {"name": f"c{number}", "namespace": text_at(pod, "metadata", "namespace")},
        "spec": {"template": {"metadata": mapping_at(pod, "metadata"), "spec": mapping_at(pod, "spec")}},
    }


def _taken_back(pod: Document, made: Document) -> Document:
    metadata = dict(mapping_at(pod, "metadata"))
    metadata |= {key: value for key in _MUTATED if (value := mapping_at(made, "metadata", key))}
    return {**pod, "metadata": metadata, "spec": made["spec"]}
