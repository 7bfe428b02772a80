"""SECURITY.md names the code that stops somebody and the test that shows it: both have to be there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "SECURITY.md").read_text()


def test_every_file_that_the_page_names_is_there() -> None:
    named = re.findall(r"`((?:controller|deploy|tests)/[\w./-]+)`", PAGE)

    assert len(named) > 30
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_every_test_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    there = {
        name for file in ROOT.glob("tests/**/test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())
    }

    assert len(named) > 10
    assert named - there == set()


def test_every_limit_that_the_page_gives_is_the_codes() -> None:
    from controller.azure.access import Limits
    from controller.azure.known import MOST_ASKED
    from controller.azure.parse import DEEPEST_DOCUMENT
    from controller.azure.snapshot import LARGEST_FILE
    from controller.bounded_json import DEEPEST
    from controller.cluster import client, fights, last_state, shared_values
    from controller.cluster.lanes import COMMAND_LIMITS, LIMITS, Lane
    from controller.cluster.prune import PruneLimit
    from controller.gatekeeper import fetch, syncset, yamltext
    from controller.policy import cost, functions, grammar
    from controller.report import events

    azure, kib, prune = Limits(), 1024, PruneLimit()
    repairs, syncs, news, reports = (LIMITS[lane] for lane in Lane)
    timeout = f"{client.REQUEST_TIMEOUT:g} s"
    said = [
        f"{yamltext.MAX_BYTES // kib // kib} MiB, {yamltext.MAX_DEPTH} levels, {yamltext.MAX_EVENTS:,} values",
        f"{2 * yamltext.MAX_BYTES // kib // kib} MiB before it is decoded",
        f"{grammar.LONGEST_EXPRESSION:,} characters, {grammar.DEEPEST_EXPRESSION} levels, {grammar.MOST_CALLS:,} calls",
        f"{functions.LARGEST_RESULT // kib // kib} Mi; {cost.MEMBER_LIMIT // kib // kib} Mi characters and elements",
        f"beyond {cost.MEMBER_SHARE // kib} Ki each | {cost.READING_RESERVE // kib // kib} Mi characters and elements",
        f"| {syncset.MAX_KINDS} |",
        f"| {DEEPEST_DOCUMENT} levels |",
        f"{azure.poll:g} s; {azure.parallel} requests at once, {azure.retries} retries",
        f"Retry-After up to {azure.retry_after_cap:g} s",
        f"| {LARGEST_FILE // kib // kib} MiB |",
        f"| {last_state.LARGEST // kib // kib} MiB |",
        f"| {shared_values.LARGEST_WRITTEN_OUT // kib // kib} MiB, {DEEPEST} levels |",
        f"{client.LARGEST_ANSWER // kib // kib} MiB, {DEEPEST} levels; a page",
        f"deeper than {DEEPEST} levels before",
        f"| {MOST_ASKED} in one reading |",
        f"{fetch.TIMEOUT:g} s with its redirects; {fetch.TOTAL:g} s",
        f"at once: {repairs} of repairs, {syncs} of syncs, {news} of the status and Events, {reports} of Assigned",
        f"{max(COMMAND_LIMITS.values())} of a command; pages of {client.PAGE}, {timeout}",
        f"{events.BURST} at once, then one a second",
        f"{fetch.TIMEOUT:g} s and {yamltext.MAX_BYTES // kib // kib} MiB, not compressed",
        f"more than {prune.percent} % of ten or more objects",
        f"up to {fights.LONGEST_HOLD:g} s",
    ]
    text = " ".join(PAGE.split())

    assert [each for each in said if each not in text] == []
