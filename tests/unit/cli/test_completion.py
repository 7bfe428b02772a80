"""Completion as shells and kubectl ask for it: bash is driven for real, the others by the same protocol."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from controller.cli.completion import answer_kubectl
from controller.cli.group import cli
from controller.cli.main import main

BIN = Path(sys.executable).parent
ASK = """\
source ./script
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_azpolicy_completion azpolicy
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def script(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Path:
    """A folder with the script that bash sources."""
    with pytest.raises(SystemExit) as ended:
        main(["completion", "bash"])
    assert ended.value.code == 0
    (tmp_path / "script").write_text(capfd.readouterr().out)
    return tmp_path


def bash(folder: Path, *words: str) -> list[str]:
    """What bash would offer for the last word."""
    ended = subprocess.run(
        ["bash", "--norc", "-c", ASK, "bash", *words],
        cwd=folder,
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stderr == ""
    return ended.stdout.split()


def test_bash_completes_commands(script: Path) -> None:
    assert bash(script, "azpolicy", "") == sorted(cli.commands)
    assert bash(script, "azpolicy", "su") == ["suspend"]


def test_bash_completes_options_and_their_values(script: Path) -> None:
    assert {"--problems", "--kubeconfig", "--namespace"} <= set(bash(script, "azpolicy", "status", "--"))
    assert bash(script, "azpolicy", "status", "-o", "") == ["text", "json", "yaml"]
    assert bash(script, "azpolicy", "completion", "f") == ["fish"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_have_a_script_that_asks_azpolicy(shell: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["completion", shell])

    assert ended.value.code == 0
    assert f"_AZPOLICY_COMPLETE={shell}_complete" in capfd.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_answered(shell: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # fish gives the unfinished word itself, the others its number.
    monkeypatch.setenv("_AZPOLICY_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", "azpolicy uninst")
    monkeypatch.setenv("COMP_CWORD", "uninst" if shell == "fish" else "1")

    with pytest.raises(SystemExit) as ended:
        main([])

    assert ended.value.code == 0
    assert "uninstall" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "candidates", "directive"),
    [
        (["comp"], {"compare", "completion"}, ":4"),
        (["status", "--prob"], {"--problems"}, ":4"),
        (["status", "-o", ""], {"text", "json", "yaml"}, ":4"),
        (["plan", "--snapshot", "ex"], set(), ":0"),
        (["render", "--output", ""], set(), ":16"),
        (["explain", ""], set(), ":4"),
    ],
)
def test_kubectl_gets_candidates_and_then_what_the_shell_shall_do(
    words: list[str], candidates: set[str], directive: str
) -> None:
    *lines, last = answer_kubectl(words)

    assert {line.partition("\t")[0] for line in lines} == candidates
    assert last == directive


@pytest.mark.parametrize("words", [[""], []])
def test_kubectl_gets_every_command_with_a_word_about_each(words: list[str]) -> None:
    *lines, _ = answer_kubectl(words)

    described = dict(line.split("\t") for line in lines)
    assert sorted(described) == sorted(cli.commands)
    assert all(described.values())
