"""What our bundle says of cases: gator judges them, and opa where a template asks an external data provider."""

import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.harness import tools
from tests.templates import opa
from tests.templates.suites import BUNDLE, load
from tests.verdicts.cases import Case

PROCESSES = 2
JUDGED = re.compile(r"^ {4}--- (PASS|FAIL): (\d+)\t.*(?:\n {8}(.*))?$", re.MULTILINE)
NOT_JUDGED = re.compile(r"^--- FAIL: .*\n {2}(\S.*)$", re.MULTILINE)
DENIED = re.compile(r"unexpected number of violations: got \d+ violations but want none: ")


class JudgeError(Exception):
    """gator could not judge a case; the message is gator's."""


def denied(cases: Sequence[Case]) -> list[bool]:
    """Whether our template reports a violation, for each case; JudgeError where one cannot be judged."""
    answers: dict[int, bool] = {}
    by_template = defaultdict[str, list[int]](list)
    for number, case in enumerate(cases):
        by_template[case.template].append(number)
    for template in list(by_template):
        document = load(BUNDLE / template / "template.yaml")
        if "external_data(" in document["spec"]["targets"][0]["rego"]:
            numbers = by_template.pop(template)
            answers |= dict(zip(numbers, _by_opa(document, [cases[number] for number in numbers]), strict=True))
    shares = [sorted(by_template)[first::PROCESSES] for first in range(PROCESSES)]
    with ThreadPoolExecutor(PROCESSES) as pool:
        found = pool.map(lambda share: _by_gator({name: by_template[name] for name in share}, cases), shares)
        refused = set().union(*found)
    return [answers.get(number, number in refused) for number in range(len(cases))]


def _by_opa(template: Mapping[str, Any], cases: Sequence[Case]) -> list[bool]:
    inputs = [opa.review_input(case.manifest, case.parameters) for case in cases]
    return [bool(found) for found in opa.violations(template, inputs)]


def _by_gator(numbers: Mapping[str, Sequence[int]], cases: Sequence[Case]) -> set[int]:
    """The numbers of the cases that are denied: each expects no violation, and gator tells those that have one."""
    gator = os.environ.get("AZPOLICY_GATOR") or tools.path("gator")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for template, own in numbers.items():
            _lay_out(folder / template, template, {number: cases[number] for number in own})
        command = [gator, "verify", "-v", "./..."]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=tools.short_lived())
    refused, unjudged = set(), "; ".join(sorted(set(NOT_JUDGED.findall(run.stdout)))) or run.stderr
    judged = {int(number): (result, reason) for result, number, reason in JUDGED.findall(run.stdout)}
    for number in itertools.chain.from_iterable(numbers.values()):
        result, reason = judged.get(number, ("FAIL", unjudged))
        if result == "FAIL":
            if not DENIED.match(reason):
                raise JudgeError(f"{cases[number].template}: {reason}")
            refused.add(number)
    return refused


def _lay_out(folder: Path, template: str, cases: Mapping[int, Case]) -> None:
    """Writes a suite for one template: a test for each set of parameters, whose cases bear their numbers."""
    folder.mkdir(parents=True)
    shutil.copy(BUNDLE / template / "template.yaml", folder)
    kind = load(folder / "template.yaml")["spec"]["crd"]["spec"]["names"]["kind"]
    groups = defaultdict[str, list[int]](list)
    for number, case in cases.items():
        groups[json.dumps(case.parameters, sort_keys=True)].append(number)
        (folder / f"case-{number}.json").write_text(json.dumps(case.manifest), encoding="utf-8")
    tests = []
    for place, (parameters, numbers) in enumerate(groups.items()):
        name = f"constraint-{place}"
        constraint = {
            "apiVersion": "constraints.gatekeeper.sh/v1beta1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": {"parameters": json.loads(parameters)},
        }
        (folder / f"{name}.json").write_text(json.dumps(constraint), encoding="utf-8")
        expected = [
            {
                "name": str(number),
                "object": f"case-{number}.json",
                "inventory": _inventory(folder, number, cases[number]),
                "assertions": [{"violations": "no"}],
            }
            for number in numbers
        ]
        tests.append({"name": name, "template": "template.yaml", "constraint": f"{name}.json", "cases": expected})
    suite = {
        "kind": "Suite",
        "apiVersion": "test.gatekeeper.sh/v1alpha1",
        "metadata": {"name": "judged"},
        "tests": tests,
    }
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")


def _inventory(folder: Path, number: int, case: Case) -> list[str]:
    """Writes what is synced for a case; the names of the files."""
    names = [f"synced-{number}-{place}.json" for place in range(len(case.inventory))]
    for name, manifest in zip(names, case.inventory, strict=True):
        (folder / name).write_text(json.dumps(manifest), encoding="utf-8")
    return names
