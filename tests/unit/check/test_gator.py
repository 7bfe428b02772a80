"""gator's answer does not depend on how its work is shared out: that is nobody's business but the clock's."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from controller.check import gator
from controller.cluster.foreign import text_map_at
from controller.gatekeeper.model import DesiredObject, Role
from controller.gatekeeper.syncset import DataKind, required_data
from tests.cluster.harness import tools
from tests.templates.suites import BUNDLE, cases, load

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OF_ONE_RULE = 2  # objects of a suite that are enough for a corpus


@pytest.fixture(scope="module")
def program() -> str:
    return os.environ.get("AZPOLICY_GATOR") or str(tools.path("gator"))


def corpus() -> tuple[list[DesiredObject], list[Mapping[str, Any]]]:
    """The newest version of each template that gator can judge by, a constraint of its suite, and its objects.

    Older versions look at objects in the same ways, and gator compiles all templates anew for every batch.
    """
    policies: list[DesiredObject] = []
    objects: dict[str, Mapping[str, Any]] = {}
    newest = {file.relative_to(BUNDLE).parts[0]: file for file in sorted(BUNDLE.rglob("suite.yaml"))}
    for file in newest.values():
        text = file.with_name("template.yaml").read_text()
        kind = load(file.with_name("template.yaml"))["spec"]["crd"]["spec"]["names"]["kind"]
        if "external_data(" in text or any(each.ref.name == kind.lower() for each in policies):
            continue
        found = list(cases(file.parent))
        policies.append(DesiredObject.of(Role.TEMPLATE, load(file.with_name("template.yaml")), ()))
        policies.append(DesiredObject.of(Role.CONSTRAINT, dict(found[0].constraint), ()))
        for case in found[:OF_ONE_RULE]:
            for given in (case.object, *case.inventory):
                if given.get("kind") not in {"AdmissionReview", "Namespace"}:
                    named = dict(given["metadata"]) | {"name": f"{given['metadata'].get('name')}-{len(objects)}"}
                    objects[gator.content(given)] = {**given, "metadata": named}
    namespaces = {str(each["metadata"].get("namespace", "default")) for each in objects.values()}
    made = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in sorted(namespaces)]
    return policies, [*objects.values(), *made]


def found(results: Iterable[Mapping[str, Any]]) -> Counter[tuple[str, str, str, str]]:
    """What was found in other objects than the policies themselves, how often: constraint, action, message, object."""
    return Counter(
        (
            f"{each['constraint']['kind']}/{each['constraint']['metadata']['name']}",
            str(each.get("enforcementAction")),
            str(each["msg"]),
            gator.content(each["violatingObject"]),
        )
        for each in results
        if "gatekeeper.sh" not in each["violatingObject"]["apiVersion"]
    )


@pytest.fixture(scope="module")
def expected(program: str) -> Counter[tuple[str, str, str, str]]:
    """What one gator finds that is given everything."""
    policies, documents = corpus()
    ended = subprocess.run(
        [program, "test", "--output=json"],
        input="\n---\n".join(map(json.dumps, [*(policy.manifest for policy in policies), *documents])),
        capture_output=True,
        text=True,
        check=False,
        env=tools.short_lived(),
    )
    return found(json.loads(ended.stdout))


@pytest.mark.parametrize(("processes", "largest"), [(1, 500), (2, 40)])
def test_batches_find_what_one_run_finds_on_the_bundle_s_own_objects(
    program: str,
    expected: Counter[tuple[str, str, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    processes: int,
    largest: int,
) -> None:
    policies, documents = corpus()
    monkeypatch.setattr(os, "cpu_count", lambda: processes)
    monkeypatch.setattr(gator, "_SHARE", 10)
    monkeypatch.setattr(gator, "_BATCH", largest)

    replicated = frozenset[DataKind]().union(
        *(required_data(text_map_at(each.manifest, "metadata", "annotations")) for each in policies)
    )

    answer = gator.ask(program, policies, documents, replicated)

    assert not answer.refusals
    assert len(expected) > len(policies)
    # What is looked up in others is in several batches, and so may be found in each of them.
    assert set(found(answer.results)) == set(expected)


def test_every_batch_has_its_part_of_each_kind_and_no_more_objects_than_fit() -> None:
    documents = [
        {"apiVersion": "apps/v1" if n % 2 else "v1", "kind": "Deployment" if n % 2 else "Pod", "metadata": {"name": n}}
        for n in range(2000)
    ]

    batches = gator._batches(documents, 2, 500)

    assert [Counter(each["kind"] for each in batch) for batch in batches] == [{"Pod": 250, "Deployment": 250}] * 4
    assert sorted(each["metadata"]["name"] for batch in batches for each in batch) == list(range(2000))


ALWAYS: dict[str, Any] = {
    "apiVersion": "templates.gatekeeper.sh/v1",
    "kind": "ConstraintTemplate",
    "metadata": {"name": "always"},
    "spec": {
        "crd": {"spec": {"names": {"kind": "Always"}}},
        "targets": [
            {
                "target": "admission.k8s.gatekeeper.sh",
                "rego": 'package always\nviolation[{"msg": "found"}] { input.review }\n',
            }
        ],
    },
}
CORE = [{"apiGroups": [""], "kinds": ["Pod", "Namespace"]}]
SPECS: list[dict[str, Any]] = [{}] + [
    {"match": match}
    for match in (
        {},
        {"kinds": CORE},
        {"kinds": [{"apiGroups": ["apps"], "kinds": ["*"]}, {"apiGroups": ["*"], "kinds": ["ClusterRole"]}]},
        {"kinds": [{"apiGroups": [""], "kinds": ["Deployment"]}]},
        {"namespaces": ["shop"]},
        {"namespaces": ["kube-*", "none"]},
        {"namespaces": ["*-system"]},
        {"namespaces": ["*e-s*"]},
        {"namespaces": ["*"]},
        {"namespaces": ["sho"]},
        {"kinds": CORE, "namespaces": ["shop"]},
    )
]


def test_what_looks_at_an_object_is_what_gator_judges_it_by(program: str) -> None:
    def thing(group: str, kind: str, namespace: str = "", name: str = "one") -> dict[str, Any]:
        placed = {"namespace": namespace} if namespace else {}
        return {"apiVersion": f"{group}v1", "kind": kind, "metadata": {"name": name, **placed}}

    documents = [thing("", "Namespace", name=each) for each in ("shop", "kube-system")]
    documents += [thing("", "Pod", each) for each in ("shop", "kube-system")]
    documents += [thing("apps/", "Deployment", "shop"), thing("rbac.authorization.k8s.io/", "ClusterRole")]
    version = "constraints.gatekeeper.sh/v1beta1"
    constraints: list[dict[str, Any]] = [
        {"apiVersion": version, "kind": "Always", "metadata": {"name": f"m{n}"}, "spec": spec}
        for n, spec in enumerate(SPECS)
    ]
    policies = [DesiredObject.of(Role.CONSTRAINT, each, ()) for each in constraints]
    policies.append(DesiredObject.of(Role.TEMPLATE, ALWAYS, ()))

    judged = found(gator.ask(program, policies, documents).results)

    for document in documents:
        seen = {each.ref.name for each in gator.looking_at(policies, [document]) if each.role is Role.CONSTRAINT}
        found_by = {each[0].removeprefix("Always/") for each in judged if each[3] == gator.content(document)}
        # To gator, unlike the webhook, what has no namespace is in one without a name.
        missed = {f"m{n}" for n, spec in enumerate(SPECS) if "namespaces" in spec.get("match", {})}
        assert seen - found_by <= (missed if document["kind"] == "ClusterRole" else set()), document
        assert found_by <= seen, document
    assert gator.looking_at([policies[4], policies[-1]], [documents[0]]) == ()
