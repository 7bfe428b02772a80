"""A real Chromium without a window, as tests drive it: the system's own, never one that a test tool downloads."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

REQUIRED: Final = "AZPOLICY_REQUIRE_BROWSER"
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
# It is to ask nobody for anything but the pages of the test. CI is root, where the sandbox does not start.
_ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str:
    """The path of the program; without one the test is skipped, or fails where a browser is required."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        missing = f"no Chromium on the PATH ({', '.join(_NAMES)}): install your system's package chromium"
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(f"{missing}; {REQUIRED}=1 makes this an error", pytrace=False)
        pytest.skip(missing)
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser; each test opens contexts of its own in it."""
    program = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=list(_ARGUMENTS))
        yield running
        running.close()
