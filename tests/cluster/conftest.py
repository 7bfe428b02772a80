"""One cluster for all tests of a session: starting one takes seconds, a hundred of them would take minutes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import TestCluster

HERE = Path(__file__).parent
KEPT_LOGS = pytest.StashKey[Path]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder, so that none is forgotten: `-m "not cluster"` leaves them out."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.cluster)


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say where the logs are: what a fixture prints at its end is easily lost."""
    if logs := config.stash.get(KEPT_LOGS, None):
        terminalreporter.write_line(f"The test cluster's logs are in {logs}")
