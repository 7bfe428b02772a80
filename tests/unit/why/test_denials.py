"""The reader of denials: a table of the forms that tools print, and that no text stops it."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Final

import pytest

from controller.why.denials import LONGEST, MOST, Subject, read_denials

if TYPE_CHECKING:
    from collections.abc import Mapping

ONE: Final = "azurepolicy-k8sazurev2noprivilege-0123456789abcdef0123"
TWO: Final = "azurepolicy-k8sazurev3readonlyrootf-abcdef0123456789abcd"
PRIVILEGED: Final = 'Privileged container is not allowed: web, securityContext: {"privileged": true}'
READ_ONLY: Final = "Readonly root filesystem is required for container. pod:'web', container:'web'"
REFUSAL: Final = f'admission webhook "validation.gatekeeper.sh" denied the request: [{ONE}] {PRIVILEGED}'
BOTH: Final = f"{REFUSAL}\n[{TWO}] {READ_ONLY}"
EVENT: Final = {
    "apiVersion": "v1",
    "kind": "Event",
    "involvedObject": {"kind": "ReplicaSet", "name": "web-5d4f8", "namespace": "shop", "apiVersion": "apps/v1"},
    "reason": "FailedCreate",
    "message": f"Error creating: {BOTH}",
}

FORMS: Final[Mapping[str, tuple[str, tuple[tuple[str, str], ...]]]] = {
    "kubectl": (f'Error from server (Forbidden): error when creating "web.yaml": {REFUSAL}', ((ONE, PRIVILEGED),)),
    "several constraints": (f"Error from server (Forbidden): {BOTH}", ((ONE, PRIVILEGED), (TWO, READ_ONLY))),
    "constraints of others": (
        'admission webhook "validation.gatekeeper.sh" denied the request: [must-have-owner] no owner\n[other] too',
        (("must-have-owner", "no owner"), ("other", "too")),
    ),
    "Gatekeeper before 3.2": (f"denied the request: [denied by {ONE}] {PRIVILEGED}", ((ONE, PRIVILEGED),)),
    "ReplicaSet, DaemonSet, Job": (f"Error creating: {BOTH}", ((ONE, PRIVILEGED), (TWO, READ_ONLY))),
    "StatefulSet": (f"create Pod web-0 in StatefulSet web failed error: {REFUSAL}", ((ONE, PRIVILEGED),)),
    "CronJob": (f"Error creating job: {REFUSAL}", ((ONE, PRIVILEGED),)),
    "events combined": (f"(combined from similar events): Error creating: {REFUSAL}", ((ONE, PRIVILEGED),)),
    "kubectl get events": (
        f"12s   Warning   FailedCreate   replicaset/web-5d4f8   Error creating: {REFUSAL}",
        ((ONE, PRIVILEGED),),
    ),
    "Helm": (
        f"Error: INSTALLATION FAILED: 1 error occurred:\n\t* {REFUSAL}\n\n",
        ((ONE, PRIVILEGED),),
    ),
    "Argo CD": (
        f"one or more objects failed to apply, reason: {REFUSAL} (retried 5 times).",
        ((ONE, PRIVILEGED),),
    ),
    "Flux": (f"Deployment/shop/web dry-run failed (Forbidden): {REFUSAL}", ((ONE, PRIVILEGED),)),
    "Flux before 2.2": (
        f"Deployment/shop/web dry-run failed, reason: Forbidden, error: {REFUSAL}",
        ((ONE, PRIVILEGED),),
    ),
    "a log line of JSON": (json.dumps({"level": "error", "error": BOTH}), ((ONE, PRIVILEGED), (TWO, READ_ONLY))),
    "lines joined": (f"{REFUSAL} [{TWO}] {READ_ONLY}", ((ONE, PRIVILEGED), (TWO, READ_ONLY))),
    "an Event": (json.dumps(EVENT), ((ONE, PRIVILEGED), (TWO, READ_ONLY))),
    "an Event as YAML": (
        (
            f"kind: Event\napiVersion: events.k8s.io/v1\nregarding: {{kind: Job, name: one, namespace: shop}}\n"
            f"note: {json.dumps('Error creating: ' + REFUSAL)}\n"
        ),
        ((ONE, PRIVILEGED),),
    ),
    "a Status": (json.dumps({"kind": "Status", "message": BOTH, "code": 403}), ((ONE, PRIVILEGED), (TWO, READ_ONLY))),
    "an Application of Argo CD": (
        json.dumps({"kind": "Application", "status": {"operationState": {"message": f"reason: {REFUSAL}"}}}),
        ((ONE, PRIVILEGED),),
    ),
    "a ReplicaSet's condition": (
        json.dumps({"kind": "ReplicaSet", "status": {"conditions": [{"type": "ReplicaFailure", "message": REFUSAL}]}}),
        ((ONE, PRIVILEGED),),
    ),
    "a policy of Gatekeeper 3.23": (
        (
            f"The pods \"web\" is invalid: : ValidatingAdmissionPolicy 'gatekeeper-k8sazurev2noprivilege' with binding "
            f"'gatekeeper-k8sazurev2noprivilege-{ONE}' denied request: {PRIVILEGED}"
        ),
        ((ONE, PRIVILEGED),),
    ),
    "Gatekeeper's own event": (
        (
            f'Admission webhook "validation.gatekeeper.sh" denied request, Resource Namespace: shop, '
            f"Constraint: {ONE}, Message: {PRIVILEGED}"
        ),
        ((ONE, PRIVILEGED),),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_its_constraints_and_messages(form: str) -> None:
    text, expected = FORMS[form]

    reading = read_denials(text)

    assert tuple((each.constraint, each.message) for each in reading.denials) == expected
    assert not any(each.warned for each in reading.denials)
    assert reading.others == ()


@pytest.mark.parametrize(
    ("text", "constraint"),
    [
        (f"Warning: [{ONE}] {PRIVILEGED}\npod/web created", ONE),
        (f"Warning: [must-have-owner] {PRIVILEGED}", "must-have-owner"),
        (
            (
                f"Warning: Validation failed for ValidatingAdmissionPolicy 'gatekeeper-k' with binding "
                f"'gatekeeper-{ONE}': {PRIVILEGED}"
            ),
            ONE,
        ),
    ],
)
def test_a_warning_is_told_from_a_denial(text: str, constraint: str) -> None:
    [denial] = read_denials(text).denials

    assert (denial.constraint, denial.message, denial.warned) == (constraint, PRIVILEGED, True)


PATCHED: Final = (
    "Error from server (Forbidden): error when applying patch:\n"
    '{"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"web"}]}}}}\nto:\n'
    'Resource: "apps/v1, Resource=deployments", GroupVersionKind: "apps/v1, Kind=Deployment"\n'
    'Name: "web", Namespace: "shop"\n'
    f'for: "web.yaml": error when patching "web.yaml": {REFUSAL}'
)


def test_an_expansion_is_named() -> None:
    text = REFUSAL.replace(f"[{ONE}] ", f"[{ONE}] [Implied by azpolicy-workload-pods] ")

    [denial] = read_denials(text).denials

    assert (denial.expansion, denial.message) == ("azpolicy-workload-pods", PRIVILEGED)


def test_a_binding_may_be_of_either_spelling() -> None:
    text = f"ValidatingAdmissionPolicy 'gatekeeper-k' with binding 'gatekeeper-k-{ONE}' denied request: no"

    assert read_denials(text).denials[0].candidates == (ONE, f"k-{ONE}")


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        (json.dumps(EVENT), Subject("ReplicaSet", "web-5d4f8", "shop")),
        (FORMS["Flux"][0], Subject("Deployment", "web", "shop")),
        (FORMS["StatefulSet"][0], Subject("StatefulSet", "web")),
        (FORMS["kubectl get events"][0], Subject("ReplicaSet", "web-5d4f8")),
        (PATCHED, Subject("Deployment", "web", "shop")),
        (REFUSAL, None),
    ],
)
def test_the_object_is_known_where_the_text_names_it(text: str, subject: Subject | None) -> None:
    assert read_denials(text).subject == subject


def test_the_file_is_known_where_kubectl_names_it() -> None:
    assert read_denials(FORMS["kubectl"][0]).file == "web.yaml"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('failed calling webhook "validation.gatekeeper.sh": context deadline exceeded', "Gatekeeper did not answer"),
        ('failed calling webhook "vault.example.com": no endpoints', "the webhook vault.example.com did not answer"),
        ("unable to expand object: no template", "Gatekeeper could not make the pod"),
        ('pods "web" is forbidden: exceeded quota: small, requested: cpu=1', "the ResourceQuota small is used up"),
        ('pods "web" is forbidden: violates PodSecurity "restricted:latest": privileged', "Pod Security Admission"),
        ('admission webhook "kyverno.svc" denied the request: no', "the webhook kyverno.svc denied it"),
        (
            "ValidatingAdmissionPolicy 'mine' with binding 'mine' denied request: no",
            "the ValidatingAdmissionPolicy mine",
        ),
        ('pods is forbidden: User "ann" cannot create resource "pods"', "the user ann lacks a right"),
        ("maximum cpu usage per Container is 1, but limit is 2", "a LimitRange denied it"),
        ("Internal error occurred: something", "the API server or a webhook failed"),
        ('The Pod "web" is invalid: spec.containers: Required value', "the API server found the object invalid"),
        ("azpolicy manages this object: change the policy assignment x", "azpolicy protects what it manages"),
        ("hello [info] world", "no form of a denial"),
        ("", "no form of a denial"),
    ],
)
def test_what_is_no_denial_of_a_constraint_is_named_with_where_to_look(text: str, what: str) -> None:
    reading = read_denials(text)

    assert reading.denials == ()
    assert reading.others[0].what.startswith(what)
    assert reading.others[0].look


def test_brackets_in_a_message_are_no_constraint() -> None:
    text = REFUSAL + ", allowed: [one]\nthen [two] and\n[three] more"

    assert [each.constraint for each in read_denials(text).denials] == [ONE]


def test_text_that_a_terminal_obeys_is_not_kept() -> None:
    [denial] = read_denials(f"{REFUSAL}\x1b[2J\x07\u202eevil").denials

    assert denial.message.isprintable()


def test_a_long_text_is_cut_and_said_to_be() -> None:
    reading = read_denials("x" * LONGEST + REFUSAL)

    assert reading.cut
    assert reading.denials == ()


def test_no_more_denials_than_anybody_reads() -> None:
    text = "\n".join(f"[azurepolicy-k-{number:020x}] no" for number in range(10 * MOST))

    assert len(read_denials(text).denials) == MOST


@pytest.mark.parametrize(
    "text",
    [
        "[" * LONGEST,
        '"' * LONGEST,
        " " * LONGEST,
        REFUSAL + '"' * LONGEST,
        f"{REFUSAL}\n" * (LONGEST // len(REFUSAL)),
        "FailedCreate " * (LONGEST // 13),
        '{"kind":' * (LONGEST // 8),
        "kind: Event\n" + "- " * 1000,
        "Warning: [a" * (LONGEST // 11),
        "Admission webhook " * (LONGEST // 18),
        '{"kind": 1}',
        '{"kind": "List", "items": [1, null, {"kind": "Event", "involvedObject": 3}]}',
        "\ud800 [denied by x] y",
    ],
    ids=range(13),
)
def test_reading_a_hostile_text_ends(text: str) -> None:
    for denial in read_denials(text).denials:
        assert denial.message.isprintable()


def test_reading_any_text_ends() -> None:
    pieces = [
        *(text for text, _ in FORMS.values()),
        "[",
        "]",
        "\n",
        "{",
        '"',
        "Warning: ",
        "denied the request: ",
        "\0",
    ]
    rng = random.Random(17)

    for _ in range(300):
        text = "".join(rng.choice(pieces)[rng.randrange(40) :] for _ in range(rng.randrange(20)))
        for denial in read_denials(text).denials:
            assert denial.message.isprintable()
            assert denial.constraint.isprintable()
