"""One cluster for all tests of a session: starting one takes seconds, a hundred of them would take minutes."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.cluster.azpolicy import wipe
from tests.cluster.harness import HarnessError, TestCluster, tools

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.deployed import Deployed

HERE = Path(__file__).parent
KEPT_LOGS = pytest.StashKey[Path]()
# These take a minute or more, the longest first. Workers get files in this order: one that begins last is waited for.
LONGEST: Final = (
    "test_replicas.py",
    "test_deployed.py",
    "test_operator.py",
    "test_enforcement.py",
    "test_fights.py",
    "test_migrate.py",
    "test_alerts.py",
    "test_apply.py",
    "test_uninstall.py",
    "test_guard.py",
    "test_azure_faults.py",
    "test_soak.py",
    "test_prune.py",
    "test_why.py",
    "test_hostile.py",
    "test_page.py",
    "test_initiatives.py",
    "test_forecast.py",
    "test_syncset.py",
    "test_ownership.py",
    "test_templates_change.py",
    "test_prevention.py",
    "test_two_installations.py",
    "test_status.py",
    "test_fuzz.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder, so that none is forgotten: `-m "not cluster"` leaves them out.

    They come before all others, which keep the processors busy while workers wait for a cluster.
    """
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.cluster)
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    """The place of a test's file in the order of a run; tests of one file stay as they are."""
    if not item.path.is_relative_to(HERE):
        return len(LONGEST) + 1
    return LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the tools before the first test: a first build takes longer than a test may, and its progress must be seen.

    What cannot be built is the fixture's to report: the tests of other folders run without it.
    """
    if session.config.option.collectonly or not any("cluster" in item.fixturenames for item in _functions(session)):
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled(), contextlib.suppress(HarnessError), tools.being_built():
        pass


def _functions(session: pytest.Session) -> Iterator[pytest.Function]:
    return (item for item in session.items if isinstance(item, pytest.Function))


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[TestCluster]:
    """The shared cluster; a test leaves no template, constraint or mutator behind."""
    running = TestCluster.start()
    try:
        yield running
    finally:
        failed = request.session.testsfailed > 0
        running.stop(keep=failed)
        if failed:
            request.config.stash[KEPT_LOGS] = running.logs


@pytest.fixture
def audits(cluster: TestCluster) -> Iterator[None]:
    """Gatekeeper audits every few seconds, for a test that waits for that: else it does so once a minute."""
    with cluster.audited_every(5):
        yield


@pytest.fixture
def tidy(cluster: TestCluster) -> Iterator[TestCluster]:
    """The shared cluster for a test that makes policies: what it leaves behind is taken away."""
    yield cluster
    wipe(cluster)


@pytest.fixture(scope="module")
def tidy_module(cluster: TestCluster) -> Iterator[TestCluster]:
    """As `tidy`, for tests that share one state."""
    yield cluster
    wipe(cluster)


@pytest.fixture
def deployed(cluster: TestCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The operator as the chart deploys it, with two assignments in Azure; no replica runs yet."""
    from tests.azure.standin import Standin
    from tests.cluster.deployed import Deployed

    with Standin() as arm:
        made = Deployed(cluster, arm, tmp_path_factory.mktemp("deployed"))
        made.assign("one")
        made.assign("two")
        yield made
        made.release.remove()
        wipe(cluster)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say where the logs are: what a fixture prints at its end is easily lost."""
    if logs := config.stash.get(KEPT_LOGS, None):
        terminalreporter.write_line(f"The test cluster's logs are in {logs}")
