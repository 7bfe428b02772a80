"""Reads denials out of what people paste: errors, events, warnings, objects; whatever the text is, reading it ends.

The forms are those of Gatekeeper (https://open-policy-agent.github.io/gatekeeper/website/docs/violations), of
ValidatingAdmissionPolicies (https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy), and
what kubectl, controllers' events, Helm, Argo CD and Flux put around them. A text that is no denial of a constraint is
named for what it is, with where to look. The text is hostile: it is bounded, and only printable text is kept of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from controller.bounded_json import read_json
from controller.check.workloads import template_path
from controller.cluster.foreign import mapping_at, mappings_at, text_at
from controller.gatekeeper.yamltext import YamlError, read_yaml
from controller.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LONGEST: Final = 256 * 1024  # characters that are read; the rest is left out, and that is said
_LONGEST_MESSAGE: Final = 4096
MOST: Final = 100  # denials of one text
_NAME: Final = r"[a-z0-9][a-z0-9.-]{0,252}"
_MANAGED: Final = r"azurepolicy-[a-z0-9][a-z0-9.-]{0,29}-[0-9a-f]{20}"
_WEBHOOK: Final = "validation.gatekeeper.sh"

# Where the violations of a refusal begin: each of the lines behind it has one.
_REFUSAL: Final = re.compile(rf'admission webhook "{re.escape(_WEBHOOK)}" denied the request: ?', re.IGNORECASE)
# A violation: `[name] message`, `[denied by name] message`, `[name] [Implied by expansion] message`.
_VIOLATION: Final = re.compile(
    rf"\[(?:denied by )?(?P<name>{_NAME})\][ \t]{{0,8}}(?:\[Implied by (?P<expansion>[^\]\n]{{1,253}})\][ \t]{{0,8}})?"
)
# The same outside a refusal, where any text in brackets may stand: names that azpolicy or the add-on gave, the old
# form, and warnings, which begin a line.
_CERTAIN: Final = re.compile(
    rf"(?P<warned>Warning: )?\[(?:denied by (?P<old>{_NAME})|(?P<managed>{_MANAGED}))\]"
    rf"|(?:^|(?<=\n))[ \t]{{0,8}}(?P<warning>Warning: )\[(?P<any>{_NAME})\]"
)
_LINE_VIOLATION: Final = re.compile(rf"[ \t*-]{{0,16}}(?={_VIOLATION.pattern})")
_POLICY: Final = re.compile(
    r"(?P<failed>Validation failed for )?ValidatingAdmissionPolicy '(?P<policy>[^'\n]{1,253})' with binding "
    r"'(?P<binding>[^'\n]{1,253})'(?: denied request)?: (?P<message>[^\n]{0,4096})"
)
# https://open-policy-agent.github.io/gatekeeper/website/docs/customize-startup
_EMITTED: Final = re.compile(
    rf'Admission webhook "{re.escape(_WEBHOOK)}" (?P<verb>denied|raised a warning for this|dry-run registered)'
    rf" request, [^\n]{{0,512}}?Constraint: (?P<name>{_NAME}), Message: (?P<message>[^\n]{{0,4096}})",
    re.IGNORECASE,
)
# What tools put behind the last message.
_TAIL: Final = re.compile(r"(?: \(retried \d{1,9} times\)\.?|\. Retrying attempt[^\n]*)\s*$")
_TEXT_KEYS: Final = frozenset({"message", "msg", "note", "error", "err", "reason", "log"})


@dataclass(frozen=True, slots=True)
class Denial:
    """One violation that the text names: the constraint and its message.

    `expansion` is the ExpansionTemplate that implied it; `candidates` are the names that the constraint may have, more
    than one where a ValidatingAdmissionPolicyBinding was named; `warned`: the request went through.
    """

    constraint: str
    message: str
    expansion: str = ""
    candidates: tuple[str, ...] = ()
    warned: bool = False


@dataclass(frozen=True, slots=True)
class Other:
    """What a text is instead of a constraint's denial, and where to look."""

    what: str
    look: str


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that a text is about, as far as it says so; `namespace` may be empty."""

    kind: str
    name: str
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read: denials in order, each once; what else was recognised; whose they are; the object, if pasted."""

    denials: tuple[Denial, ...]
    others: tuple[Other, ...] = ()
    subject: Subject | None = None
    file: str = ""
    manifest: Mapping[str, Any] | None = None
    cut: bool = False


def read_denials(text: str) -> Reading:
    """Every denial that a text holds; total and linear in what is read of it (LONGEST characters)."""
    cut = len(text) > LONGEST
    text = text[:LONGEST]
    document = _document(text)
    if document is None:
        return _of_text(text, cut=cut)
    objects = mappings_at(document, "items") or [document]
    said = "\n".join(text for each in objects for text in _texts(each))
    subject = next((found for each in objects if (found := _subject(each))), None)
    manifest = next((each for each in objects if _makes_pods(each)), None)
    reading = _of_text(said, cut=cut)
    return replace(reading, subject=subject or reading.subject, manifest=manifest)


def _of_text(text: str, *, cut: bool) -> Reading:
    # Logs and JSON write a line break as two characters.
    text = text.replace("\\n", "\n").replace("\\t", "\t").replace('\\"', '"').replace("\r", "")
    found: dict[tuple[str, str, bool], Denial] = {}
    for denial in (*_violations(text), *_by_policies(text), *_emitted(text)):
        found.setdefault((denial.constraint, denial.message, denial.warned), denial)
        if len(found) >= MOST:
            break
    others = tuple(_others(text)) or (() if found else (UNKNOWN,))
    named = _FILE.search(text)
    return Reading(
        tuple(found.values()), others, _named_subject(text), one_line(named["file"]) if named else "", None, cut
    )


# --- violations ------------------------------------------------------------------------------------------------------


def _violations(text: str) -> Iterator[Denial]:
    """Those of a refusal, whose every line begins with one, and those whose form alone is certain."""
    starts: dict[int, bool] = {}  # where a violation's bracket stands, and whether it only warned
    for refusal in _REFUSAL.finditer(text):
        at = refusal.end()
        while at < len(text) and (line := _LINE_VIOLATION.match(text, at)):
            starts[line.end()] = False
            end = text.find("\n", at)
            at = len(text) if end < 0 else end + 1
    for certain in _CERTAIN.finditer(text):
        bracket = text.index("[", certain.start())
        starts.setdefault(bracket, bool(certain["warned"] or certain["warning"]))
    for place, following in pairwise([*sorted(starts), len(text)]):
        if (found := _VIOLATION.match(text, place)) is None:
            continue
        end = text.find("\n", found.end())
        message = text[found.end() : min(following, len(text) if end < 0 else end)]
        yield Denial(
            constraint=found["name"],
            message=_message(message),
            expansion=one_line(found["expansion"] or ""),
            candidates=(found["name"],),
            warned=starts[place],
        )


def _by_policies(text: str) -> Iterator[Denial]:
    """Refusals by the ValidatingAdmissionPolicies that Gatekeeper makes of constraints.

    A binding is `gatekeeper-<kind>-<constraint>` from Gatekeeper 3.23 on, `gatekeeper-<constraint>` before.
    """
    for found in _POLICY.finditer(text):
        if not found["policy"].startswith("gatekeeper-"):
            continue
        short = found["binding"].removeprefix("gatekeeper-")
        long = short.removeprefix(f"{found['policy'].removeprefix('gatekeeper-')}-")
        candidates = tuple(dict.fromkeys((long, short)))
        warned = bool(found["failed"])
        yield Denial(one_line(long), _message(found["message"]), candidates=candidates, warned=warned)


def _emitted(text: str) -> Iterator[Denial]:
    for found in _EMITTED.finditer(text):
        warned = found["verb"].lower() != "denied"
        yield Denial(found["name"], _message(found["message"]), candidates=(found["name"],), warned=warned)


def _message(text: str) -> str:
    return one_line(_TAIL.sub("", text[:_LONGEST_MESSAGE])).strip()


# --- what is no denial of ours ---------------------------------------------------------------------------------------

UNKNOWN: Final = Other(
    "no form of a denial that azpolicy knows",
    "paste the whole error, or name the workload: azpolicy why KIND/NAME -n NAMESPACE",
)
_OTHERS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), what, look)
    for pattern, what, look in (
        (
            rf'failed calling webhook "{re.escape(_WEBHOOK)}"',
            "Gatekeeper did not answer: no policy has denied anything",
            "kubectl get pods -n gatekeeper-system, and the webhook's Service, its certificate and its timeout",
        ),
        (
            rf'failed calling webhook "(?!{re.escape(_WEBHOOK)})(?P<name>[^"\n]{{1,253}})"',
            "the webhook {name} did not answer",
            "kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations, and the pods behind it",
        ),
        (
            r"unable to expand object|error expanding|expansion template.{0,200}error",
            "Gatekeeper could not make the pod of this workload (expansion), which is an error and no denial",
            "kubectl get expansiontemplate -o yaml (status.byPod), and Gatekeeper's log",
        ),
        (
            r"exceeded quota: ?(?P<name>[^,\n]{0,253})",
            "the ResourceQuota {name} is used up",
            "kubectl describe resourcequota -n NAMESPACE",
        ),
        (
            r'violates PodSecurity "(?P<name>[^"\n]{0,253})"',
            "Pod Security Admission ({name}) denied it",
            "the labels pod-security.kubernetes.io/* of the namespace",
        ),
        (
            r'admission webhook "check-ignore-label\.gatekeeper\.sh" denied',
            "Gatekeeper keeps its ignore label for namespaces that its settings exempt",
            "--exempt-namespace of Gatekeeper's deployment",
        ),
        (
            rf'admission webhook "(?!{re.escape(_WEBHOOK)}|check-ignore-label)(?P<name>[^"\n]{{1,253}})" denied',
            "the webhook {name} denied it, which is not Gatekeeper's",
            "kubectl get validatingwebhookconfigurations, and who runs that webhook",
        ),
        (
            r"azpolicy manages this object",
            "azpolicy protects what it manages (prevention)",
            "change the policy assignment in Azure; docs/prevention.md",
        ),
        (
            r"ValidatingAdmissionPolicy '(?!gatekeeper-)(?P<name>[^'\n]{1,253})'",
            "the ValidatingAdmissionPolicy {name} denied it, which is not one of Gatekeeper's",
            "kubectl get validatingadmissionpolicy {name} -o yaml",
        ),
        (
            r'User "(?P<name>[^"\n]{0,253})" cannot ',
            "the user {name} lacks a right (RBAC)",
            "kubectl auth can-i --list --as USER",
        ),
        (
            r"(?:minimum|maximum) (?:cpu|memory|ephemeral-storage|storage) (?:usage|limit)",
            "a LimitRange denied it",
            "kubectl describe limitrange -n NAMESPACE",
        ),
        (
            r"Internal error occurred",
            "the API server or a webhook failed with an internal error",
            "the logs of kube-apiserver and of the webhook that the text names",
        ),
        (
            r"is invalid: (?!: ValidatingAdmissionPolicy)[a-z]",
            "the API server found the object invalid",
            "the field that the text names",
        ),
    )
)


def _others(text: str) -> Iterator[Other]:
    for pattern, what, look in _OTHERS:
        if found := pattern.search(text):
            name = one_line(found.groupdict().get("name") or "")
            yield Other(what.format(name=name), look.format(name=name))


# --- whose it is -----------------------------------------------------------------------------------------------------

_KIND: Final = r"[A-Z][A-Za-z]{1,62}"
_FILE: Final = re.compile(r'error when (?:creating|applying patch|patching|replacing) "(?P<file>[^"\n]{1,1024})"')
_SUBJECTS: Final = (
    # Flux: Deployment/shop/web dry-run failed (Forbidden): …
    re.compile(rf"(?P<kind>{_KIND})/(?P<namespace>{_NAME})/(?P<name>{_NAME}) dry-run failed"),
    # The StatefulSet controller: create Pod web-0 in StatefulSet web failed error: …
    re.compile(rf"create Pod {_NAME} in (?P<kind>StatefulSet) (?P<name>{_NAME}) failed"),
    # kubectl apply, of what is there: … GroupVersionKind: "apps/v1, Kind=Deployment"\nName: "web", Namespace: "shop"
    re.compile(
        rf'GroupVersionKind: "[^"\n]{{0,253}}Kind=(?P<kind>{_KIND})"\s{{1,8}}Name: "(?P<name>{_NAME})",'
        rf' Namespace: "(?P<namespace>{_NAME})"'
    ),
    # kubectl get events: … FailedCreate  replicaset/web-5d4f8  Error creating: …
    re.compile(rf"FailedCreate\s+(?P<kind>[a-z]{{2,40}})/(?P<name>{_NAME})"),
)
_KINDS: Final = {
    each.lower(): each
    for each in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicationController")
}


def _named_subject(text: str) -> Subject | None:
    for pattern in _SUBJECTS:
        if found := pattern.search(text):
            kind = _KINDS.get(found["kind"].lower(), found["kind"])
            return Subject(kind, found["name"], found.groupdict().get("namespace") or "")
    return None


def _subject(document: Mapping[str, Any]) -> Subject | None:
    """What an Event is about, or the object itself."""
    kind = text_at(document, "kind")
    about = mapping_at(document, "involvedObject") or mapping_at(document, "regarding")
    if kind == "Event" and about:
        kind, name, namespace = (text_at(about, key) for key in ("kind", "name", "namespace"))
    else:
        name, namespace = (text_at(document, "metadata", key) for key in ("name", "namespace"))
    return Subject(one_line(kind), one_line(name), one_line(namespace)) if kind and name else None


# --- documents -------------------------------------------------------------------------------------------------------


def _document(text: str) -> Mapping[str, Any] | None:
    """The object that a text is, as JSON (a log line too) or a Kubernetes object as YAML; None of a message."""
    try:
        read: Any = read_json(text.encode("utf-8", "replace"))
    except ValueError:
        read = None
        if re.search(r"^kind: ", text, re.MULTILINE):
            try:
                read = read_yaml(text)
            except YamlError:
                return None
    return read if isinstance(read, dict) else None


def _makes_pods(document: Mapping[str, Any]) -> bool:
    """Whether it is a workload or a pod that can be judged: with a pod's spec, and metadata that name it."""
    return template_path(document) is not None and text_at(document, "metadata", "name") != ""


def _texts(document: Mapping[str, Any]) -> Iterator[str]:
    """What an object says: its messages at any depth, each line by line."""
    level: list[Any] = [document]
    while level:
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                yield from (value for key, value in each.items() if key in _TEXT_KEYS and isinstance(value, str))
                below += each.values()
            elif isinstance(each, list):
                below += each
        level = below
