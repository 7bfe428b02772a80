"""Whatever stands in a snapshot or in a template: no crash, a reason that names it, and the neighbours unharmed."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from controller.azure.snapshot import read_snapshot
from controller.cli.main import main
from controller.cli.output import report_unresolved
from controller.cluster.changes import Create, Retain
from controller.cluster.kinds import Inventory
from controller.cluster.plan import make_plan
from controller.commands.explain import as_json, as_text, explain
from controller.commands.render import texts
from controller.errors import InputError, SourceError
from controller.gatekeeper.model import Rendered
from controller.gatekeeper.naming import OwnershipMarks
from controller.policy.model import Unresolved
from controller.text import LONGEST_MESSAGE
from tests.unit.azure_builders import CLUSTER_ID, assignment_id, make_assignment, make_exemption
from tests.unit.bad_documents import DOCUMENT_CASES, FIELD_CASES
from tests.unit.bad_files import FILE_CASES, in_the_folder
from tests.unit.bad_input import HEALTHY, NAME, NOTHING, make_world, sync, word, write_snapshot
from tests.unit.cluster_builders import live as live_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from controller.gatekeeper.model import DesiredState
    from tests.unit.bad_input import Case

# By name; those of a field together, for a world costs more than a case.
CASES: Final[Mapping[str, tuple[Case, ...]]] = {
    **FIELD_CASES,
    **{name: (case,) for name, case in (*DOCUMENT_CASES.items(), *FILE_CASES.items())},
}
FEWEST: Final = 200
UNREADABLE: Final = json.dumps({"id": assignment_id(NAME), "properties": 7})

# None of it takes a second; what has no bound takes hours.
pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder with a snapshot and templates, in which all is well."""
    make_world(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What the healthy assignments are rendered to while they are alone: text by object."""
    root = tmp_path_factory.mktemp("alone")
    make_world(root)
    return rendered(asyncio.run(sync(root)))


def rendered(desired: DesiredState) -> dict[str, str]:
    return {str(wanted.ref): text for wanted, text in zip(desired.objects, texts(desired.objects), strict=True)}


@pytest.mark.parametrize("cases", CASES.values(), ids=CASES.keys())
async def test_nothing_in_it_crashes_or_hurts_a_neighbour_and_the_reason_names_it(
    cases: tuple[Case, ...], world: Path, alone: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    for case in cases:
        case.put(world)
        await assert_case(case, world, alone, capsys)


async def assert_case(case: Case, world: Path, alone: Mapping[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """What was put into the world ends as it must, and if the world as a whole is not refused, the rest is unharmed."""
    try:
        desired = await sync(world)
    except (InputError, SourceError) as error:
        assert_ends(case, {type(error).__name__}, [str(error)])
        return

    assert_unharmed(desired, alone)
    hostile = [each for each in desired.outcomes if each.member.assignment_id not in HEALTHY]
    reasons = [each.message for each in hostile if not isinstance(each, Rendered)]
    assert_ends(case, {word(each) for each in hostile} or {NOTHING}, reasons)
    for note in (note for each in hostile if isinstance(each, Rendered) for note in each.notes):
        assert_one_line(note)
    assert_shown(desired, capsys)


def assert_ends(case: Case, words: set[str], reasons: list[str]) -> None:
    """Everything hostile ends alike, and each reason is one line that says what is wrong with which document."""
    assert " ".join(sorted(words)) == case.end, reasons[:3]
    for reason in reasons:
        assert_one_line(reason)
        assert NAME in reason
        assert re.search(case.says, reason)


def assert_one_line(message: str) -> None:
    assert message.isprintable()
    assert len(message) <= LONGEST_MESSAGE + len(" … ")


def assert_unharmed(desired: DesiredState, alone: Mapping[str, str]) -> None:
    """The healthy assignments are rendered as if they were alone, byte by byte, and are all made."""
    now = rendered(desired)
    assert {ref: now.get(ref) for ref in alone} == alone
    created = make_plan(desired, Inventory({}), OwnershipMarks()).of(Create)
    assert {str(change.desired.ref) for change in created if isinstance(change, Create)} == now.keys()


def assert_shown(desired: DesiredState, capsys: pytest.CaptureFixture[str]) -> None:
    """All that a user gets to see of it can be printed."""
    explanation = explain(desired)
    report_unresolved(desired, strict=True)
    lines = [*as_text(explanation), *as_json(explanation).splitlines(), *capsys.readouterr().err.splitlines()]
    assert all(line.isprintable() for line in lines)


def test_an_exemption_that_does_not_tell_whom_it_is_for_keeps_everything_as_it_is(
    world: Path, alone: Mapping[str, str]
) -> None:
    """By design, the one document that others suffer from: any assignment may be exempt, so none is known to apply."""
    live = {wanted.ref: live_object(wanted) for wanted in asyncio.run(sync(world)).objects}
    write_snapshot(world, "hostile.json", [make_exemption(NAME, policyAssignmentId=7)])

    desired = asyncio.run(sync(world))

    assert [word(each) for each in desired.outcomes] == ["Unreadable"] * len(HEALTHY)
    assert all(NAME in each.message for each in desired.outcomes if isinstance(each, Unresolved))
    plan = make_plan(desired, Inventory(live), OwnershipMarks())
    assert len(live) == len(alone)
    assert len(plan.of(Retain)) == len(plan.changes) == len(live)


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """Runs a test as somebody who is not root, who may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.mark.usefixtures("as_nobody")
@pytest.mark.parametrize(("spoilt", "mode"), [("a.json", 0), ("folder", 0), ("folder", 0o400), ("", 0), ("", 0o600)])
def test_what_may_not_be_read_is_an_error_that_names_it(spoilt: str, mode: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        snapshot = Path(folder) / "snapshot"
        (snapshot / "folder").mkdir(parents=True)
        for file in (snapshot / "a.json", snapshot / "folder" / "b.json"):
            file.write_text("[]", encoding="utf-8")
        (snapshot / spoilt).chmod(mode)

        with pytest.raises(InputError, match=rf"{spoilt}.*: cannot be read: Permission denied"):
            read_snapshot(snapshot, CLUSTER_ID)

        (snapshot / spoilt).chmod(0o700)


def test_a_path_of_too_long_a_name_is_an_error() -> None:
    with pytest.raises(InputError, match="cannot be read: File name too long"):
        read_snapshot(Path("a" * 5_000), CLUSTER_ID)


def test_a_snapshot_that_is_exchanged_again_and_again_is_never_read_as_a_mixture(tmp_path: Path) -> None:
    """As a mounted volume is: by one link, which leads to files that go together."""
    snapshot, ended = tmp_path / "snapshot", threading.Event()
    exchange(snapshot, 0)

    def keep_exchanging() -> None:
        for generation in itertools.takewhile(lambda _: not ended.is_set(), itertools.count(1)):
            exchange(snapshot, generation)

    with ThreadPoolExecutor() as threads:
        exchanging = threads.submit(keep_exchanging)
        try:
            for _ in range(100):
                with suppress(SourceError):
                    assert_of_one_generation(snapshot)
        finally:
            ended.set()
        exchanging.result()

    assert_of_one_generation(snapshot)


def exchange(snapshot: Path, generation: int) -> None:
    """Puts two files that say the same in the place of two others; they are longer each time, so none look alike."""
    folder = snapshot.with_name(f"{generation}")
    folder.mkdir()
    for name in ("a", "b"):
        document = make_assignment(name, displayName="x" * (generation + 1))
        (folder / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
    link = snapshot.with_name("link")
    link.symlink_to(folder)
    link.replace(snapshot)


def assert_of_one_generation(snapshot: Path) -> None:
    names = {each.display_name for each in read_snapshot(snapshot, CLUSTER_ID).assignments}

    assert len(names) == 1


@pytest.mark.parametrize(
    ("content", "options", "code"),
    [("{", [], 2), ("[]", [], 0), ("[{}]", [], 2), (UNREADABLE, [], 0), (UNREADABLE, ["--strict"], 2)],
    ids=["not JSON", "nothing", "no resource", "unreadable", "unreadable, strictly"],
)
def test_the_command_says_so_in_one_line_and_prints_all_the_rest(
    world: Path, content: str, options: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    write_snapshot(world, "hostile.json", content.encode())
    folders = ["--snapshot", str(world / "snapshot"), "--templates", str(world / "templates")]

    with pytest.raises(SystemExit) as left:
        main(["render", *folders, *options])

    out, err = capsys.readouterr()
    assert left.value.code == code
    assert err.count("\n") == (content != "[]")
    assert ("K8sHealthy" in out) is (not err.startswith("error: "))


def test_a_pipe_among_the_templates_is_not_waited_for(world: Path) -> None:
    """In a process of its own: a thread that waits for a pipe cannot be ended."""
    in_the_folder(os.mkfifo)(world)
    folders = ["--snapshot", str(world / "snapshot"), "--templates", str(world / "templates")]

    done = subprocess.run(
        [sys.executable, "-c", "from controller.cli.main import main; main()", "render", *folders],
        capture_output=True,
        text=True,
        timeout=25,
        check=True,
    )

    assert "template.yaml is not a file" in done.stderr
    assert "K8sHealthy" in done.stdout


def test_there_are_enough_cases_and_none_of_them_twice() -> None:
    count = sum(map(len, CASES.values()))
    print(f"{count} cases of bad input")

    assert count >= FEWEST
    assert len(CASES) == len(FIELD_CASES) + len(DOCUMENT_CASES) + len(FILE_CASES)
