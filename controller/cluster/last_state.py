"""What outlives a restart, kept in the cluster: the last good state, and what we remember of what we wrote.

With it a restart while Azure is away still repairs drift, and no editor makes us forget which objects are ours, or
which template was good: docs/decisions/011-what-we-remember-of-what-we-wrote.md.

What is found here may be cut off, edited or of another version. It is used whole and verified, or not at all: half a
state would look like deletions. It stands in ConfigMaps of the operator's own namespace; the first one (the head)
holds all of it but in the largest installations, and is written last, so that it never names what is not there.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import hashlib
import json
import logging
import operator
import re
import zlib
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, Final, TypeVar

from controller.azure.model import fold
from controller.bounded_json import read_bounded
from controller.cluster.config_maps import ConfigMapStore
from controller.cluster.foreign import text_at, text_map_at
from controller.cluster.kinds import kind_of
from controller.cluster.shared_values import share, written_out
from controller.cluster.written import Kept
from controller.gatekeeper.model import DesiredObject, DesiredState, ObjectRef, Rendered, Role
from controller.gatekeeper.naming import OwnershipMarks
from controller.gatekeeper.syncset import SyncDataError, kinds_of, required_data, syncset
from controller.policy.model import Member, NotApplied, NotAppliedReason, Unresolved, UnresolvedReason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from controller.cluster.client import KubeClient
    from controller.gatekeeper.model import Outcome
    from controller.jsontypes import Json

T = TypeVar("T")

log = logging.getLogger("azpolicy")
SCHEMA: Final = "azpolicy.dev/state/v2"
NAME: Final = "azure-policy-sync-state"
DIGEST: Final = "azpolicy.dev/state-sha256"
PARTS: Final = "azpolicy.dev/state-parts"
PART_BYTES: Final = 750_000  # in base64 below the 1 MiB that a ConfigMap may hold and a request had better not exceed
LARGEST: Final = 32 * 1024 * 1024
_KEY: Final = "state.json.gz"
PART_NAME: Final = re.compile(rf"{NAME}-([ab])[0-9]{{1,2}}")
_MOST_PARTS: Final = LARGEST // PART_BYTES


class UnusableStateError(ValueError):
    """This version cannot use the kept state; the message says why."""


# --- the document ----------------------------------------------------------------------------------------------------

_TAGS: Final[Mapping[type, str]] = {Rendered: "rendered", NotApplied: "not-applied", Unresolved: "unresolved"}


def to_document(kept: Kept) -> dict[str, Any]:
    """All of it as JSON: the same for equal ones. What is one object there, such as a member, is one object here."""
    members: dict[Member, dict[str, Any]] = {}
    desired = kept.desired

    def member(each: Member) -> dict[str, Any]:
        if each not in members:
            members[each] = asdict(each)
        return members[each]

    def written(each: DesiredObject) -> dict[str, Any]:
        return {"role": each.role, "manifest": each.manifest, "members": [member(user) for user in each.members]}

    def told(outcome: Outcome) -> dict[str, Any]:
        own = {each.name: getattr(outcome, each.name) for each in fields(outcome)}
        if isinstance(outcome, Rendered):
            own["objects"] = [asdict(ref) for ref in outcome.objects]
        return {"outcome": _TAGS[type(outcome)], **own, "member": member(outcome.member)}

    return {
        "cluster_id": desired.cluster_id,
        "objects": list(map(written, desired.objects)),
        "outcomes": list(map(told, desired.outcomes)),
        "listed": sorted(desired.listed),
        "gone": sorted(desired.gone),
        "written": [{**asdict(ref), "uid": uid} for ref, uid in sorted(kept.uids.items())],
        "templates": [written(each) for _, each in sorted(kept.templates.items())],
    }


def of_document(document: object) -> Kept:
    """What `to_document` was given; UnusableStateError for anything else."""
    state = dict(_mapping(document))
    uids = _tuple(_written)(state.pop("written", None))
    templates = _tuple(_template)(state.pop("templates", None))
    desired = _built(DesiredState, state, objects=_tuple(_object), outcomes=_tuple(_outcome), listed=_ids, gone=_ids)
    return Kept(desired, dict(uids), {each.ref: each for each in templates})


def _written(node: object) -> tuple[ObjectRef, str]:
    """An object that we wrote: of a kind that is ours to write, or nothing here is used."""
    named = dict(_mapping(node))
    uid = _text(named.pop("uid", None))
    ref = _ref(named)
    if _role_of(ref) is None:
        raise UnusableStateError(f"{ref} of group {ref.group!r} is of no kind that azpolicy writes")
    return ref, uid


def _template(node: object) -> DesiredObject:
    template = _object(node)
    if template.role is not Role.TEMPLATE:
        raise UnusableStateError(f"{template.ref} is not a template")
    return template


def _role_of(ref: ObjectRef) -> Role | None:
    """The role of the kind that a ref names, None for a kind that is not ours to write."""
    try:
        return kind_of(ref).role
    except KeyError:
        return None


def _object(node: object) -> DesiredObject:
    return _built(_checked_object, node, role=Role, manifest=_mapping, members=_tuple(_member))


def _checked_object(*, role: Role, manifest: Mapping[str, Json], members: tuple[Member, ...]) -> DesiredObject:
    """An object of a kind that is ours to write; whatever else somebody put here is not written."""
    metadata = _mapping(manifest.get("metadata"))
    for text in (manifest.get("apiVersion"), manifest.get("kind"), metadata.get("name")):
        _text(text)
    for key in ("labels", "annotations"):
        for value in _mapping(metadata.get(key, {})).values():
            _text(value)
    wanted = DesiredObject.of(role, manifest, members)
    try:
        _check_data(wanted)
    except (SyncDataError, TypeError, LookupError) as error:
        raise UnusableStateError(f"{wanted.ref} asks for data in a form that is not known: {error}") from error
    if role is not _role_of(wanted.ref):
        raise UnusableStateError(f"{wanted.ref} of group {wanted.ref.group!r} is not a {role}")
    return wanted


def _check_data(wanted: DesiredObject) -> None:
    """An error where it cannot be read which data a template or SyncSet asks for, as plans do."""
    if wanted.role is Role.TEMPLATE:
        required_data(text_map_at(wanted.manifest, "metadata", "annotations"))
    if wanted.role is Role.SYNC:
        syncset(kinds_of(wanted.manifest), OwnershipMarks())


def _outcome(node: object) -> Outcome:
    told = dict(_mapping(node))
    match told.pop("outcome", None):
        case "rendered":
            return _built(Rendered, told, member=_member, objects=_tuple(_ref), notes=_tuple(_text))
        case "not-applied":
            return _built(NotApplied, told, member=_member, reason=NotAppliedReason, presumed=_flag)
        case "unresolved":
            return _built(Unresolved, told, member=_member, reason=UnresolvedReason)
        case other:
            raise UnusableStateError(f"{other!r} is not an outcome that this version knows")


def _member(node: object) -> Member:
    return _built(Member, node, whole=_flag)


def _ref(node: object) -> ObjectRef:
    return _built(ObjectRef, node)


def _built(make: Callable[..., T], node: object, **readers: Callable[[Any], object]) -> T:
    """What the fields make, each read by its reader, as text where it has none."""
    try:
        return make(**{name: readers.get(name, _text)(value) for name, value in _mapping(node).items()})
    except TypeError as error:
        raise UnusableStateError(f"it has other fields than this version knows: {error}") from error


def _tuple(read: Callable[[object], T]) -> Callable[[object], tuple[T, ...]]:
    return lambda node: tuple(read(item) for item in _list(node))


def _ids(node: object) -> frozenset[str]:
    return frozenset(_text(item) for item in _list(node))


def _mapping(node: object) -> Mapping[str, Any]:
    if not isinstance(node, dict):
        raise UnusableStateError(f"a {type(node).__name__} where an object should be")
    return node


def _list(node: object) -> Sequence[object]:
    if not isinstance(node, list):
        raise UnusableStateError(f"a {type(node).__name__} where a list should be")
    return node


def _text(node: object) -> str:
    if not isinstance(node, str):
        raise UnusableStateError(f"a {type(node).__name__} where a text should be")
    return node


def _flag(node: object) -> bool:
    if not isinstance(node, bool):
        raise UnusableStateError(f"a {type(node).__name__} where true or false should be")
    return node


# --- the bytes -------------------------------------------------------------------------------------------------------


def canonical(kept: Kept) -> bytes:
    """The document as text, the same text for the same one."""
    whole = {"schema": SCHEMA, "values": share(to_document(kept))}
    return json.dumps(whole, separators=(",", ":")).encode()


def of_canonical(text: bytes) -> Kept:
    """What `canonical` was given; ValueError for anything else."""
    document, cut = read_bounded(text)
    if cut:
        raise UnusableStateError("it is nested too deeply")
    if (schema := _mapping(document).get("schema")) != SCHEMA:
        raise UnusableStateError(f"its schema is {schema!r}, this version reads {SCHEMA}")
    return of_document(written_out(document.get("values")))


def packed(text: bytes) -> tuple[bytes, ...]:
    """The text compressed, in parts that fit into a ConfigMap; the same parts for the same text."""
    whole = gzip.compress(text, mtime=0)
    return tuple(whole[start : start + PART_BYTES] for start in range(0, len(whole), PART_BYTES))


def unpacked(parts: Sequence[bytes]) -> bytes:
    """The text again; UnusableStateError where it is cut off, damaged, or would not fit into memory."""
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        text = stream.decompress(b"".join(parts), LARGEST + 1)
    except zlib.error as error:
        raise UnusableStateError(f"it is damaged ({error})") from error
    if len(text) > LARGEST:
        raise UnusableStateError(f"it is larger than {LARGEST} bytes")
    if not stream.eof:
        raise UnusableStateError("it is cut off")
    return text


# --- the ConfigMaps --------------------------------------------------------------------------------------------------


class LastState:
    """The state as one replica keeps it; only the leader may `save`.

    Needs get, create, update and delete of ConfigMaps in `namespace`, and lists nothing.
    """

    def __init__(self, client: KubeClient, namespace: str, marks: OwnershipMarks) -> None:
        self._namespace = namespace
        self._maps = ConfigMapStore(client, namespace, marks)
        self._head: Mapping[str, Any] | None = None
        self._digest = ""
        self._saved: Kept | None = None

    async def load(self, cluster_id: str | None) -> Kept | None:
        """What `read` gives, and a line in the log where that is nothing."""
        try:
            kept = await self.read(cluster_id)
        except UnusableStateError as error:
            log.warning(
                "the last good state is not used; until Azure has been read, which writes it again, nothing is "
                "repaired, and objects are known as ours by their marks alone configmap=%s/%s reason=%r",
                self._namespace,
                NAME,
                str(error),
            )
            return None
        if kept is None:
            log.info("no last good state is kept yet configmap=%s/%s", self._namespace, NAME)
        return kept

    async def read(self, cluster_id: str | None) -> Kept | None:
        """What is kept, None where nothing is yet; UnusableStateError where it is not of this cluster (None: of any).

        The same where it cannot be used. ClusterError only where the API server does not answer or refuses.
        """
        try:
            kept = await self._look()
        except (ValueError, RecursionError) as error:
            raise UnusableStateError(str(error)) from error
        if kept is not None and cluster_id is not None and fold(kept.desired.cluster_id) != fold(cluster_id):
            raise UnusableStateError(f"it is of cluster {kept.desired.cluster_id}")
        return kept

    async def _look(self) -> Kept | None:
        """Reads what is kept, and remembers which state that is and what a write would replace."""
        self._digest = ""
        self._head = await self._maps.read(NAME)
        if self._head is None:
            return None
        self._digest, kept = await self._state(self._head)
        return kept

    async def _state(self, head: Mapping[str, Any]) -> tuple[str, Kept]:
        parts = [_data(head)]
        for name in _part_names(head):
            part = await self._maps.read(name)
            if part is None:
                raise UnusableStateError(f"configmap {name} is missing")
            parts.append(_data(part))
        # In a thread, as in `save`: a large state takes a second, in which the lease and the repairs go on.
        return await asyncio.to_thread(_read, parts, _annotation(head, DIGEST))

    async def save(self, kept: Kept) -> None:
        """Keeps it; writes nothing when it is what is kept, and once that is known asks nothing either.

        ClusterError leaves what was kept before, or this: the next call tries again. UnusableStateError where it could
        not be read back; what was kept before stays.
        """
        if self._head is not None and await asyncio.to_thread(operator.eq, kept, self._saved):
            return
        text = await asyncio.to_thread(canonical, kept)
        digest = hashlib.sha256(text).hexdigest()
        if self._head is None:
            with contextlib.suppress(ValueError, RecursionError):
                await self._look()
        if digest == self._digest:
            self._saved = kept
            return
        first, *others = await asyncio.to_thread(_readable, text, kept)
        # Unless this is answered nothing is known: it may have been written all the same.
        head, self._head = self._head, None
        before = _part_names(head)
        names = _names_beside(before, len(others))
        for name, part in zip(names, others, strict=True):
            await self._write(await self._maps.read(name), name, part, {})
        self._head = await self._write(head, NAME, first, {DIGEST: digest, PARTS: " ".join(names)})
        self._digest, self._saved = digest, kept
        for name in before:
            await self._maps.delete(name)

    async def _write(
        self, before: Mapping[str, Any] | None, name: str, data: bytes, annotations: Mapping[str, str]
    ) -> Mapping[str, Any]:
        content = {"binaryData": {_KEY: base64.b64encode(data).decode()}}
        purpose = "keeping the last good state"
        return await self._maps.write(name, content, before, purpose=purpose, annotations=annotations)


def _read(parts: Sequence[bytes], expected: str) -> tuple[str, Kept]:
    text = unpacked(parts)
    digest = hashlib.sha256(text).hexdigest()
    if digest != expected:
        raise UnusableStateError("its content was changed: the digest differs")
    return digest, of_canonical(text)


def _readable(text: bytes, kept: Kept) -> tuple[bytes, ...]:
    """The text packed; UnusableStateError unless a reader gets the same out of it, by the limits that a reader has."""
    parts = packed(text)
    if len(parts) > _MOST_PARTS:
        raise UnusableStateError(f"it is larger than {_MOST_PARTS} ConfigMaps")
    try:
        same = of_canonical(unpacked(parts)) == kept
    except (ValueError, RecursionError) as error:
        raise UnusableStateError(str(error)) from error
    if not same:
        raise UnusableStateError("it does not come back as it was")
    return parts


def names() -> tuple[str, ...]:
    """Every ConfigMap that a state may stand in: the chart's Role names them, as it may change no others."""
    return (NAME, *(f"{NAME}-{turn}{number}" for turn in "ab" for number in range(1, _MOST_PARTS + 1)))


def _data(config_map: Mapping[str, Any]) -> bytes:
    return base64.b64decode(_text(_mapping(config_map.get("binaryData")).get(_KEY)), validate=True)


def _annotation(config_map: Mapping[str, Any], key: str) -> str:
    return text_at(config_map, "metadata", "annotations", key)


def _part_names(head: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The further parts that a head names; none where somebody broke that, which the digest will show."""
    names = _annotation(head, PARTS).split() if head else []
    return tuple(name for name in names[:_MOST_PARTS] if PART_NAME.fullmatch(name))


def _names_beside(before: Sequence[str], count: int) -> tuple[str, ...]:
    """Names for further parts that overwrite none of those in use: two sets alternate."""
    used = PART_NAME.fullmatch(before[0]) if before else None
    turn = "b" if used and used[1] == "a" else "a"
    return tuple(f"{NAME}-{turn}{number}" for number in range(1, count + 1))
