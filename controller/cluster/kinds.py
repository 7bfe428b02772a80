"""The kinds this project manages, and the live objects read of them.

A constraint kind is born with its template, so it is made here by name; all others are a fixed table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from controller.cluster.foreign import mapping_at, mappings_at, text_at, text_map_at, whole_at
from controller.gatekeeper.model import ObjectRef, Role, digest
from controller.gatekeeper.naming import (
    AZPOLICY_GROUP,
    CONSTRAINT_GROUP,
    CONSTRAINT_VERSION,
    EXPANSION_GROUP,
    MUTATION_GROUP,
    SYNCSET_GROUP,
    TEMPLATE_GROUP,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Resource:
    """A collection of the API: the objects of a kind at a version, all of them or those of one namespace."""

    group: str
    version: str
    kind: str
    plural: str
    namespace: str = field(default="", kw_only=True)

    @property
    def api_version(self) -> str:
        """The manifest's apiVersion."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, name: str = "") -> str:
        """The API path of the collection, or of one object."""
        root = f"/{'apis' if self.group else 'api'}/{self.api_version}"
        within = f"/namespaces/{self.namespace}" if self.namespace else ""
        return f"{root}{within}/{self.plural}" + (f"/{name}" if name else "")


@dataclass(frozen=True, slots=True)
class Kind(Resource):
    """A cluster-scoped kind at the version it is listed at; `optional` kinds may be missing from a cluster."""

    role: Role
    optional: bool = False

    def at(self, api_version: str) -> Kind:
        """The same kind at another version of its group (a template is compared at its document's own)."""
        return Kind(self.group, api_version.rpartition("/")[2], self.kind, self.plural, self.role, self.optional)


CRD: Final = Resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions")
CRD_PATH: Final = CRD.path()
TEMPLATE: Final = Kind(TEMPLATE_GROUP, "v1", "ConstraintTemplate", "constrainttemplates", Role.TEMPLATE)
MUTATORS: Final = (
    Kind(MUTATION_GROUP, "v1", "Assign", "assign", Role.MUTATOR, optional=True),
    Kind(MUTATION_GROUP, "v1", "AssignMetadata", "assignmetadata", Role.MUTATOR, optional=True),
    Kind(MUTATION_GROUP, "v1", "ModifySet", "modifyset", Role.MUTATOR, optional=True),
    Kind(MUTATION_GROUP, "v1alpha1", "AssignImage", "assignimage", Role.MUTATOR, optional=True),
)
SYNCSET: Final = Kind(SYNCSET_GROUP, "v1alpha1", "SyncSet", "syncsets", Role.SYNC, optional=True)
EXPANSION: Final = Kind(
    EXPANSION_GROUP, "v1beta1", "ExpansionTemplate", "expansiontemplate", Role.EXPANSION, optional=True
)
FIXED_KINDS: Final = (TEMPLATE, SYNCSET, EXPANSION, *MUTATORS)
# Our own: what an administrator tells the operator, and what the operator tells everybody. Never part of a plan.
POLICY_SYNC: Final = Kind(AZPOLICY_GROUP, "v1alpha1", "PolicySync", "policysyncs", Role.REPORT, optional=True)
ASSIGNED_POLICY: Final = Kind(
    AZPOLICY_GROUP, "v1alpha1", "AssignedPolicy", "assignedpolicies", Role.REPORT, optional=True
)
# Reports of policies, of an API that others define: its kinds may be missing, and may come and go.
REPORT: Final = Resource("openreports.io", "v1alpha1", "Report", "reports")
CLUSTER_REPORT: Final = Resource("openreports.io", "v1alpha1", "ClusterReport", "clusterreports")
POLICY_REPORT: Final = Resource("wgpolicyk8s.io", "v1alpha2", "PolicyReport", "policyreports")
CLUSTER_POLICY_REPORT: Final = Resource("wgpolicyk8s.io", "v1alpha2", "ClusterPolicyReport", "clusterpolicyreports")
# A CustomResourceDefinition, anybody's, can be huge, and so can a report.
LISTED_BY_METADATA: Final = frozenset(
    each.path() for each in (CRD, REPORT, CLUSTER_REPORT, POLICY_REPORT, CLUSTER_POLICY_REPORT)
)
HOLDS: Final = ("finalizers", "ownerReferences")
_COMPARED: Final = ("apiVersion", "kind", "metadata", "spec")
_BY_NAME: Final = {(kind.group, kind.kind): kind for kind in FIXED_KINDS}


def constraint_kind(kind: str) -> Kind:
    """A constraint kind; Gatekeeper's plural is the kind in lower case."""
    version = CONSTRAINT_VERSION.rpartition("/")[2]
    return Kind(CONSTRAINT_GROUP, version, kind, kind.lower(), Role.CONSTRAINT, optional=True)


def kind_of(ref: ObjectRef) -> Kind:
    """The kind that a ref names."""
    return _BY_NAME[(ref.group, ref.kind)] if ref.group != CONSTRAINT_GROUP else constraint_kind(ref.kind)


@dataclass(frozen=True, slots=True)
class LiveObject:
    """One object as the API server returned it (at `manifest["apiVersion"]`).

    Others may have written any of it, so whatever reads it reads as `foreign` does. `cut` is whether part of it is
    nested too deeply to be read: then that part is no longer in the manifest, which must not be written back.

    `content` is one value in all versions of an object that differ in nothing but their resourceVersion and the time of
    the last audit, as far as that is known: whoever judged one of them has judged them all.
    """

    ref: ObjectRef
    manifest: Mapping[str, Any]
    cut: bool = field(default=False, compare=False)
    content: object = field(default_factory=object, init=False, compare=False, repr=False)

    @classmethod
    def of(cls, kind: Resource, document: Mapping[str, Any], *, cut: bool = False) -> LiveObject:
        """Wraps a list item, which carries no apiVersion and kind of its own in some lists.

        Where it has the kind in other letters, these count: such constraints are listed at the same path.
        """
        own = {key: text_at(document, key) for key in ("apiVersion", "kind")}
        head = {"apiVersion": own["apiVersion"] or kind.api_version, "kind": own["kind"] or kind.kind}
        manifest = head | {key: value for key, value in document.items() if key not in head}
        named = own["kind"] if own["kind"].lower() == kind.kind.lower() else kind.kind
        return cls(ObjectRef(kind.group, named, name_of(document)), manifest, cut)

    def audited(self, manifest: Mapping[str, Any]) -> LiveObject:
        """This object at another version, which differs in nothing else but the time of the last audit."""
        made = LiveObject(self.ref, manifest, self.cut)
        object.__setattr__(made, "content", self.content)
        return made

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The object's metadata."""
        return mapping_at(self.manifest, "metadata")

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels, empty where there are none."""
        return text_map_at(self.manifest, "metadata", "labels")

    @property
    def annotations(self) -> Mapping[str, str]:
        """Its annotations, empty where there are none."""
        return text_map_at(self.manifest, "metadata", "annotations")

    @property
    def uid(self) -> str:
        """Tells this object from a later one of its name."""
        return text_at(self.manifest, "metadata", "uid")

    @property
    def version(self) -> str:
        """Its resourceVersion, which every write moves, that of a status too."""
        return text_at(self.manifest, "metadata", "resourceVersion")

    @property
    def generation(self) -> int:
        """Counts changes of the spec."""
        return whole_at(self.manifest, "metadata", "generation")

    @property
    def deleting(self) -> bool:
        """Whether a deletion waits for finalizers."""
        return "deletionTimestamp" in self.metadata

    @property
    def managers(self) -> frozenset[str]:
        """The field managers that managedFields records, status writers apart."""
        return frozenset(
            text_at(entry, "manager")
            for entry in mappings_at(self.manifest, "metadata", "managedFields")
            if not entry.get("subresource")
        )

    @property
    def holds(self) -> dict[str, Any]:
        """What decides over the object's end: finalizers keep a deleted one in place, an owner takes it along."""
        return {key: value for key in HOLDS if (value := self.metadata.get(key))}

    def projection(self) -> dict[str, Any]:
        """The part that a decision compares: labels, annotations, `holds`, spec. Status and bookkeeping are not in it.

        An object of ours has no finalizers and no owner: Gatekeeper stops to enforce an object once its deletion
        begins, so one that a finalizer then keeps in place would enforce nothing for ever.
        """
        return {
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
            **self.holds,
            "spec": self.manifest.get("spec") or {},
        }

    def reads_as(self, other: LiveObject) -> bool:
        """Whether a decision would see the same in the two.

        Python takes 1 for `true`, but a spec that is changed so has another generation.
        """
        if self.content is other.content or self.is_same_reading(other):
            return True
        return self._read() == other._read()

    def _read(self) -> tuple[object, ...]:
        meta = self.metadata
        compared = (self.labels, self.annotations, *map(meta.get, HOLDS), self.manifest.get("spec") or {})
        return (*map(meta.get, ("uid", "generation", "deletionTimestamp")), *compared)

    def is_same_reading(self, other: LiveObject) -> bool:
        """Whether both are of one reading of the object, so that nothing but the status can differ."""
        return all(self.manifest.get(key) is other.manifest.get(key) for key in ("metadata", "spec"))

    def without_status(self) -> LiveObject:
        """As much of it as decisions compare."""
        return LiveObject(self.ref, {key: self.manifest[key] for key in _COMPARED if key in self.manifest}, self.cut)

    def digest(self) -> str:
        """Changes when, and only when, the projection does."""
        return digest(self.projection())


@dataclass(frozen=True, slots=True)
class Inventory:
    """Every object of every managed kind, ours or not, and which constraint kinds are served. Complete or not made.

    `hidden` are the names of templates that have a CustomResourceDefinition which is not served at this moment: nobody
    can say which constraints of theirs there are. `absent` are fixed kinds that the cluster lacks: group and kind.
    """

    objects: Mapping[ObjectRef, LiveObject]
    served: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    absent: frozenset[tuple[str, str]] = frozenset()
    positions: Mapping[tuple[str, str], str] = field(default_factory=dict)


def crd_path(template: str) -> str:
    """The path of the CustomResourceDefinition of a template's kind."""
    return CRD.path(f"{template}.{CONSTRAINT_GROUP}")


def template_kind(manifest: Mapping[str, Any]) -> str:
    """The constraint kind that a ConstraintTemplate makes, empty if it names none."""
    return text_at(manifest, "spec", "crd", "spec", "names", "kind")


def name_of(document: Mapping[str, Any]) -> str:
    """The name of an object; empty where it has none, which the API server does not allow."""
    return text_at(document, "metadata", "name")
