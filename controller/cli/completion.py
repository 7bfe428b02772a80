"""Completion of the command line: by a script that a shell sources, and by kubectl's protocol for its plugins.

kubectl asks an executable on PATH, `kubectl_complete-azpolicy`, with the words so far; the last one is to be completed.
It prints a candidate a line, with what it means behind a tab, and in the last line what the shell shall do besides.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import ShellComplete, shell_complete

from controller.cli.group import cli
from controller.text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.shell_completion import CompletionItem

VARIABLE: Final = "_AZPOLICY_COMPLETE"
_PROGRAM: Final = "azpolicy"
_NO_FILES: Final = ":4"
# What the shell completes itself, by the type of click's item.
_DIRECTIVES: Final = {"file": ":0", "dir": ":16"}


def answer_shell(instruction: str) -> int:
    """Prints what a shell asks: `bash_source` its script, `bash_complete` the candidates for COMP_WORDS; exit code."""
    return shell_complete(cli, {}, _PROGRAM, VARIABLE, instruction)


def answer_kubectl(words: Sequence[str]) -> list[str]:
    """The lines that kubectl reads: candidates for the last word, then the directive."""
    *before, incomplete = words or ("",)
    items = ShellComplete(cli, {}, f"kubectl {_PROGRAM}", VARIABLE).get_completions(before, incomplete)
    directives = [_DIRECTIVES[item.type] for item in items if item.type in _DIRECTIVES]
    candidates = [_candidate(item) for item in items if item.type == "plain"]
    return [*candidates, directives[0] if directives else _NO_FILES]


def _candidate(item: CompletionItem[str]) -> str:
    return f"{item.value}\t{plain(item.help)}" if item.help else item.value


def kubectl() -> None:
    """Entry point of kubectl_complete-azpolicy."""
    for line in answer_kubectl(sys.argv[1:]):
        click.echo(line)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(*, shell: str) -> int:
    """Print the script that completes azpolicy's commands and options in a shell.

    For bash: source <(azpolicy completion bash), in ~/.bashrc to have it always. For kubectl azpolicy nothing is to be
    done but to have kubectl_complete-azpolicy, which comes with azpolicy, on PATH.
    """
    return answer_shell(f"{shell}_source")
