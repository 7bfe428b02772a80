"""A running pod as admission saw it when it was made: without what the cluster and people have done to it since.

What the API server and its webhooks added at that moment stays, for they will add it to the next pod too: defaults, the
volume of the service account's token, the limits of a LimitRange, the containers of a mesh.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from controller.cluster.foreign import mapping_at, mappings_at, text_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_METADATA: Final = (
    "name",
    "generateName",
    "namespace",
    "uid",
    "creationTimestamp",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
)
_ADDED_LATER: Final = frozenset({"nodeName", "ephemeralContainers"})
_TEXTS: Final = ("labels", "annotations")


def as_created(pod: Mapping[str, Any], template: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """The pod as its creation was judged; None where somebody has changed its spec since, so that it proves nothing.

    The API server tells the uid and the time of creation to whoever validates. Who has set which field since is in
    managedFields (https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management): the first
    manager to own the spec made the pod, webhooks included; labels and annotations of others came later, and are as in
    the pod of the template, where one is given.
    """
    entries = [each for each in mappings_at(pod, "metadata", "managedFields") if not each.get("subresource")]
    made_by = next((each for each in entries if "f:containers" in mapping_at(each, "fieldsV1", "f:spec")), None)
    others = [each for each in entries if each is not made_by]
    if made_by is not None and any(mapping_at(each, "fieldsV1", "f:spec") for each in others):
        return None
    metadata = {key: value for key in _METADATA if (value := mapping_at(pod, "metadata").get(key))}
    for key in _TEXTS:
        later = {name for each in others for name in _owned(each, key)}
        given = {name: text for name, text in mapping_at(template, "metadata", key).items() if name in later}
        kept = given | {name: text for name, text in mapping_at(metadata, key).items() if name not in later}
        metadata = {**metadata, key: kept} if kept else {k: v for k, v in metadata.items() if k != key}
    spec = {key: value for key, value in mapping_at(pod, "spec").items() if key not in _ADDED_LATER}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _owned(entry: Mapping[str, Any], key: str) -> Iterator[str]:
    """The names of the labels or annotations that a manager owns."""
    fields = mapping_at(entry, "fieldsV1", "f:metadata", f"f:{key}")
    return (name.removeprefix("f:") for name in fields if name.startswith("f:"))


def is_made_from(template: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Whether a pod has all that a template's pod has, names apart: the template may have changed since."""
    labels = mapping_at(template, "metadata", "labels"), mapping_at(pod, "metadata", "labels")
    annotations = mapping_at(template, "metadata", "annotations"), mapping_at(pod, "metadata", "annotations")
    specs = mapping_at(template, "spec"), mapping_at(pod, "spec")
    return all(_contains(found, wanted) for wanted, found in (labels, annotations, specs))


def _contains(found: object, wanted: object) -> bool:
    match wanted:
        case dict():
            return isinstance(found, dict) and all(_contains(found.get(key), value) for key, value in wanted.items())
        case list():
            return isinstance(found, list) and all(_has_item(found, value) for value in wanted)
        case _:
            return found == wanted


def _has_item(found: list[Any], wanted: object) -> bool:
    name = text_at(wanted, "name")
    return any(_contains(each, wanted) for each in found if text_at(each, "name") == name)
