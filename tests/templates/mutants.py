"""Mutation of the Rego: a change that no suite notices is a rule that no case needs.

    python -m tests.templates.mutants                    # all templates and shared modules
    python -m tests.templates.mutants selinux/v2 lib     # one template; the shared modules

Each mutant is one change of one rule.rego or shared module (tests/templates/rego.py says which changes there are). It
survives if the cases of the suites hold as before: those of the template, or of every template that imports the shared
module. Survivors are printed as `file:line: change: the line after it`, exit 1 if there are any. A mutant that does not
compile is none. One that decides as the original does for every input is named in equivalent.yaml, with `file`, `line`
and `mutant` (the line before and after) and the `reason`, and is printed as such. An entry without a survivor is an
error.

gator needs a process and several milliseconds for a case, so opa judges: hundreds of mutants are packages of one `opa
test`, whose input is the one that Gatekeeper would make of the suites' cases.
"""

import argparse
import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from templates import generate
from tests.cluster.harness import tools
from tests.templates import opa
from tests.templates.rego import Mutation, mutations
from tests.templates.suites import BUNDLE, Case, cases, folder_name, load

EQUIVALENT = Path(__file__).parent / "equivalent.yaml"
PROCESSES = 2
BATCH = 150
IMPORTED = re.compile(r"^import data\.lib\.(\w+)$", re.MULTILINE)
# gator's rules of assertions, with `least` and `most` for their `violations`.
SUITES = """package suites

holds(assertions, violations) {
  messages := [violation.msg | violation := violations[_]]
  count(messages) == count(violations)
  count([assertion | assertion := assertions[_]; not met(assertion, messages)]) == 0
}

met(assertion, messages) {
  found := count([message | message := messages[_]; regex.match(assertion.message, message)])
  found >= assertion.least
  found <= assertion.most
}
"""
TEST = """package {package}_judged

broken {{
  case := data.cases["{template}"][_]
  violations := data.{package}.rule.violation with input as case.input with data.inventory as case.inventory{provider}
  not data.suites.holds(case.assertions, violations)
}}

test_{package} {{
  not broken
}}
"""
MANY = 10**9


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change of a file of the bundle."""

    file: str
    """`selinux/v2/rule.rego` or `lib/pod.rego`."""
    source: str
    mutation: Mutation

    @property
    def module(self) -> str:
        """`rule`, or the shared module's name."""
        return Path(self.file).stem

    @property
    def lines(self) -> tuple[str, str]:
        """The line that is changed, before and after."""
        before, after = (
            text.splitlines()[self.mutation.row - 1].strip()
            for text in (self.source, self.mutation.apply(self.source) + "\n")
        )
        return before, after

    def __str__(self) -> str:
        return f"templates/{self.file}:{self.mutation.row}: {self.mutation.what}: {self.lines[1]}"


@dataclass(frozen=True)
class Template:
    """A template's Rego: its rule and the shared modules that it needs, by name."""

    folder: Path

    @cached_property
    def name(self) -> str:
        """`selinux/v2`."""
        return folder_name(self.folder)

    @cached_property
    def modules(self) -> Mapping[str, str]:
        """The text of each module: `rule`, and shared ones by their names."""
        rule = (self.folder / "rule.rego").read_text(encoding="utf-8")
        found, waiting = {"rule": rule}, set(IMPORTED.findall(rule))
        while waiting:
            name = waiting.pop()
            found[name] = (BUNDLE / "lib" / f"{name}.rego").read_text(encoding="utf-8")
            waiting |= set(IMPORTED.findall(found[name])) - set(found)
        return found

    def changed_with(self, module: str) -> set[str]:
        """The modules of which a mutant of one needs copies of its own: it, and those that import it."""
        changed = {module}
        while more := {name for name, text in self.modules.items() if changed & set(IMPORTED.findall(text))} - changed:
            changed |= more
        return changed

    def files(self, package: str, mutant: Mutant | None) -> Iterator[tuple[str, str]]:
        """The modules that a mutant changes, under a package of its own; without mutant the template as it is."""
        module = mutant.module if mutant else "rule"
        changed = self.changed_with(module)
        for name in changed:
            text = mutant.mutation.apply(mutant.source) if mutant and name == module else self.modules[name]
            text = opa.PACKAGE.sub(f"package {package}.{name}", text, count=1)
            yield f"{package}.{name}.rego", IMPORTED.sub(lambda found: _import(found[1], package, changed), text)
        provider = "\n    with external_data as data.standin.answer" if "external_data(" in self.modules["rule"] else ""
        yield f"{package}.test.rego", TEST.format(package=package, template=self.name, provider=provider)


def _import(name: str, package: str, changed: set[str]) -> str:
    return f"import data.{package}.{name}" if name in changed else f"import data.lib.{name}"


def outcomes(names: Sequence[str] = ()) -> dict[Mutant, bool]:
    """Whether each mutant survives: those of the named templates (`selinux`, `selinux/v2`) or of `lib`, else of all.

    RuntimeError where a suite does not hold as it is, or does not compile.
    """
    templates = [Template(folder) for folder in generate.sources()]
    wanted = [each for each in templates if not names or {each.name, each.name.partition("/")[0]} & set(names)]
    with_lib = not names or "lib" in names
    _check(templates if with_lib else wanted)
    found = _judge([(mutant, each) for each in wanted for mutant in _mutants(f"{each.name}/rule.rego")])
    return found | _judge_lib(templates) if with_lib else found


def _mutants(file: str) -> list[Mutant]:
    source = (BUNDLE / file).read_text(encoding="utf-8")
    return [Mutant(file, source, mutation) for mutation in mutations(source)]


def _judge_lib(templates: Sequence[Template]) -> dict[Mutant, bool]:
    """Templates with most cases judge first, as they kill most; then twice as many at a time those that are left."""
    left = [mutant for path in sorted((BUNDLE / "lib").glob("*.rego")) for mutant in _mutants(f"lib/{path.name}")]
    judges = sorted(templates, key=lambda template: -len(list(cases(template.folder))))
    untried = {mutant: [each for each in judges if mutant.module in each.modules] for mutant in left}
    found = dict.fromkeys((mutant for mutant in left if not untried[mutant]), True)
    first, count = 0, 1
    while pairs := [(mutant, each) for mutant in left for each in untried[mutant][first : first + count]]:
        judged = _judge(pairs)
        found |= judged
        left = [mutant for mutant, survives in judged.items() if survives]
        first, count = first + count, count * 2
    return found


def _check(templates: Sequence[Template]) -> None:
    held = _tested([list(each.files(f"m{number}", None)) for number, each in enumerate(templates)])
    if broken := [each.name for number, each in enumerate(templates) if not held.get(number)]:
        raise RuntimeError(f"these suites fail without any change (see `gator verify`): {', '.join(broken)}")


def _judge(pairs: Sequence[tuple[Mutant, Template]]) -> dict[Mutant, bool]:
    """Whether each mutant that compiles survives the suites of all the templates that it is paired with."""

    def judged(first: int) -> Iterator[tuple[Mutant, bool]]:
        batch = pairs[first : first + BATCH]
        tests = [list(template.files(f"m{number}", mutant)) for number, (mutant, template) in enumerate(batch)]
        return ((batch[number][0], passed) for number, passed in _tested(tests).items())

    found: dict[Mutant, bool] = {}
    with ThreadPoolExecutor(PROCESSES) as pool:
        for mutant, survives in itertools.chain.from_iterable(pool.map(judged, range(0, len(pairs), BATCH))):
            found[mutant] = survives and found.get(mutant, True)
    return found


def _tested(tests: Sequence[Sequence[tuple[str, str]]]) -> dict[int, bool]:
    """Whether each test (of package m and its place) passes, by its place; without those whose files do not compile."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "modules"
        folder.mkdir()
        for file, text in [*_shared_files().items(), *(pair for files in tests for pair in files)]:
            (folder / file).write_text(text, encoding="utf-8")
        flags = ["--v0-compatible", "--format=json", "--timeout=60s", "--max-errors=1000000"]
        command = [str(opa.program()), "test", *flags, "--capabilities", opa.write_capabilities(Path(name)), "."]
        while True:
            run = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, check=False, env=tools.short_lived()
            )
            refused = {int(number) for number in re.findall(r"\bm(\d+)\.\w+\.rego", run.stderr)}
            if not refused:
                break
            for file, _ in itertools.chain.from_iterable(tests[number] for number in refused):
                (folder / file).unlink()
    if not run.stdout.startswith("["):
        raise RuntimeError(f"opa test: {run.stderr}{run.stdout}")
    results = json.loads(run.stdout)
    return {int(each["name"].removeprefix("test_m")): not {"fail", "error"} & set(each) for each in results}


@cache
def _shared_files() -> Mapping[str, str]:
    """What all mutants have in common, by name: shared modules as they are, the suites' cases, a provider."""
    modules = {f"lib.{path.name}": path.read_text(encoding="utf-8") for path in (BUNDLE / "lib").glob("*.rego")}
    judged = {
        folder_name(folder): [_judged(case) for case in cases(folder) if case.matched] for folder in generate.sources()
    }
    return {
        **modules,
        "suites.rego": SUITES,
        "standin.rego": opa.PROVIDER.read_text(encoding="utf-8"),
        "cases.json": json.dumps({"cases": judged}, default=str),
    }


def _judged(case: Case) -> dict[str, Any]:
    return {
        "input": opa.review_input(case.object, case.constraint["spec"].get("parameters", {})),
        "inventory": opa.inventory(case.inventory),
        "assertions": [_assertion(each) for each in case.assertions],
    }


def _assertion(assertion: Mapping[str, Any]) -> dict[str, Any]:
    """An assertion of gator with the least and the most violations that it takes."""
    expected = assertion["violations"]
    if isinstance(expected, bool):  # YAML's yes and no
        least, most = (1, MANY) if expected else (0, 0)
    elif isinstance(expected, str):
        least, most = (1, MANY) if expected == "yes" else (0, 0)
    else:
        least = most = expected
    return {"message": assertion.get("message", ""), "least": least, "most": most}


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the mutants."""

    killed: tuple[Mutant, ...]
    equivalent: Mapping[Mutant, str]
    """Survivors that decide as the original does, with the reason."""
    survivors: tuple[Mutant, ...]
    stale: tuple[str, ...]
    """Lines of judged files that equivalent.yaml has, but no survivor."""


def report(names: Sequence[str] = ()) -> Report:
    """Judges the mutants of the named templates or of `lib`, by default all; RuntimeError as for `outcomes`."""
    found = outcomes(names)
    known = {(each["file"], each["line"], each["mutant"]): each["reason"] for each in load(EQUIVALENT)}
    keys = {mutant: (mutant.file, *mutant.lines) for mutant in sorted(found, key=_place)}
    judged = {mutant.file for mutant in found}
    return Report(
        killed=tuple(mutant for mutant in keys if not found[mutant]),
        equivalent={mutant: known[key] for mutant, key in keys.items() if found[mutant] and key in known},
        survivors=tuple(mutant for mutant, key in keys.items() if found[mutant] and key not in known),
        stale=tuple(
            f"{file}: {line}"
            for file, line, changed in known
            if file in judged and not any(found[mutant] and keys[mutant] == (file, line, changed) for mutant in keys)
        ),
    )


def _place(mutant: Mutant) -> tuple[str, int]:
    return mutant.file, mutant.mutation.start


def main() -> int:
    """Exit 1 if a mutant survives that equivalent.yaml does not name, or it names none; 2 if a suite fails as it is."""
    parser = argparse.ArgumentParser(prog="python -m tests.templates.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="a template (`selinux`, `selinux/v2`), or `lib`")
    try:
        found = report(parser.parse_args().names)
    except RuntimeError as exc:
        print(exc, file=sys.stderr)
        return 2
    for mutant, reason in found.equivalent.items():
        print(f"{mutant}: decides as the original does: {reason}")
    for mutant in found.survivors:
        print(mutant)
    for line in found.stale:
        print(f"equivalent.yaml has a mutant that does not survive: {line}")
    print(f"{len(found.killed)} mutants killed, {len(found.equivalent)} equivalent, {len(found.survivors)} survive")
    return 1 if found.survivors or found.stale else 0


if __name__ == "__main__":
    sys.exit(main())
