"""What holds for every test: no test is timed, and hostile strings in a log must not end the run that tests them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.by_file import ByFile

if TYPE_CHECKING:
    from collections.abc import Generator

# How long an example takes says what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The switch of tests/by_file.py."""
    parser.addoption("--by-file", action="store_true", help="say where the time of tests on a cluster goes, by file")


def pytest_configure(config: pytest.Config) -> None:
    """Measure where it was asked for: in the workers too, which get the same options."""
    if config.option.by_file:
        config.pluginmanager.register(ByFile(), "by-file")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Half characters in captured output cannot be sent from a worker to the one who prints it."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "replace").decode()) for name, text in report.sections]
    return report
