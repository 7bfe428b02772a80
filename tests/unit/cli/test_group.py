"""The lazy group: what it lists is what its commands say, and listing imports none of them."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import click
import pytest

from controller.cli.group import SUMMARIES, cli

# What only some commands need, and what takes longer to import than everything else together.
HEAVY: Final = ("aiohttp", "asyncio", "azure", "kopf", "kubernetes", "prometheus_client", "rich")


@pytest.mark.parametrize("name", SUMMARIES)
def test_each_summary_is_the_first_sentence_of_its_commands_help(name: str) -> None:
    command = cli.load(name)

    assert command.name == name
    sentence, _, _ = " ".join((command.help or "").split()).partition(". ")
    assert SUMMARIES[name] == f"{sentence.removesuffix('.')}."


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["nonsense"]])
def test_nothing_heavy_is_imported_for_the_list_of_commands(arguments: list[str]) -> None:
    code = f"""\
import sys
from controller.cli.main import main
try:
    main({arguments!r})
except SystemExit:
    print("heavy:", *(set({HEAVY!r}) & sys.modules.keys()))
"""

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout.splitlines()[-1] == "heavy:"


def test_a_command_takes_the_place_of_its_stand_in_once_it_is_used() -> None:
    context = cli.make_context("azpolicy", ["plan"], resilient_parsing=True)

    name, command, rest = cli.resolve_command(context, ["plan", "--verbose"])

    assert (name, rest) == ("plan", ["--verbose"])
    assert command is cli.load("plan")
    assert "--prune-limit" in {option for each in command.params for option in each.opts}


def test_a_command_that_there_is_not_is_refused_by_name() -> None:
    context = cli.make_context("azpolicy", ["plan"], resilient_parsing=True)
    context.resilient_parsing = False

    with pytest.raises(click.UsageError, match="No such command 'plann'"):
        cli.resolve_command(context, ["plann"])
