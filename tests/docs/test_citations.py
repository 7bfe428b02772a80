"""Citations lead somewhere: links, files, headings and decision records that code and documents name exist.

A reader has nothing but the repository and public pages. So a comment, a docstring or a page points at a file of the
repository, at a heading in one, as `docs/design.md (Drift is exact)`, or at a public address.
"""

from __future__ import annotations

import functools
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[2]
TEXTS: Final = {".py", ".md", ".yaml", ".yml", ".toml", ".sh", ".rego", ".tpl", ".txt", ".json", ""}
THIS: Final = Path(__file__).relative_to(ROOT).as_posix()
# What is generated from Azure's definitions or the bundle, and what is data.
UNREAD: Final = re.compile(r"^(docs/policies\.(md|json)|requirements.*\.lock|tests/.*/(data|samples)/|templates/.*/)")

LINK: Final = re.compile(r"\[[^\]\n]*\]\((?P<target>[^)\s]+)\)")
FENCE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
ANCHOR = re.compile(r'<a (?:id|name)="(?P<name>[^"]+)">')
HEADING: Final = re.compile(r"^#{1,6} +(?P<text>.+?) *$", re.MULTILINE)
# A list's item that begins with words in bold can be cited, too: the properties of docs/design.md.
BOLD: Final = re.compile(r"^(?:\d+\.|[-*]) +\*\*(?P<text>.+?)\*\*", re.MULTILINE)
FILE: Final = re.compile(
    r"(?<![\w/.*{}$-])(?P<path>(?:controller|crds|deploy|docs|examples|templates|tests)/[\w./-]*\w\.(?:md|py|sh|svg)"
    r"|[A-Z]{5,}\.md)\b"
)
CITED: Final = re.compile(FILE.pattern + r",? +\((?P<heading>[A-Z][^()\n]*(?:\n[ #]*[^()\n]*)?)\)")
# What nobody but its writers could follow: documents that are in no clone, and numbers that change with every edit.
NOWHERE: Final = re.compile(
    r"\(facts(?: on \w+)?(?:: [a-zA-Z]+ \w|,? §)|§ *\d|\bpropert(?:y|ies) \d+|\(design,|design\.md, \""
)


@functools.cache
def files() -> dict[str, str]:
    """The texts of the repository by path."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return {
        name: (ROOT / name).read_text(encoding="utf-8")
        for name in names
        if Path(name).suffix in TEXTS and not UNREAD.search(name) and name != THIS and (ROOT / name).is_file()
    }


def plain(text: str) -> str:
    """A heading's or citation's words, without marks, on one line."""
    return re.sub(r"\s+", " ", re.sub(r"[`*]|\n *#+", " ", text)).strip().rstrip(".").casefold()


@functools.cache
def headings(path: str) -> frozenset[str]:
    """The headings of a document, and the first words of its lists' items where they are in bold."""
    text = FENCE.sub("", (ROOT / path).read_text(encoding="utf-8"))
    return frozenset(plain(found["text"]) for pattern in (HEADING, BOLD) for found in pattern.finditer(text))


def slugs(path: Path) -> set[str]:
    """A page's anchors: its own, and those of headings: lower case, spaces as dashes, the rest left out."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    made: set[str] = set()
    for found in HEADING.finditer(text):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", found["text"]).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        made.add(next(each for n in range(100) if (each := f"{slug}-{n}" if n else slug) not in made))
    return made | {found["name"] for found in ANCHOR.finditer(text)}


def broken_links(name: str, text: str) -> Iterator[str]:
    """The links of a page that lead nowhere."""
    for found in LINK.finditer(FENCE.sub("", text)):
        target = found["target"].strip("<>")
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (ROOT / name).parent / path if path else ROOT / name
        if not place.exists():
            yield f"{name}: there is no {target}"
        elif anchor and place.suffix == ".md" and anchor not in slugs(place):
            yield f"{name}: {path or name} has no heading #{anchor}"


def broken_citations(name: str, text: str) -> Iterator[str]:
    """The files and headings that a text names and that do not exist."""
    for found in FILE.finditer(text):
        path = found["path"]
        if not any((place / path).is_file() for place in (ROOT, (ROOT / name).parent)):
            yield f"{name}: there is no {path}"
    for found in CITED.finditer(text):
        path = found["path"]
        if path.endswith(".md") and (ROOT / path).is_file() and plain(found["heading"]) not in headings(path):
            yield f"{name}: {path} has no heading {found['heading']!r}"


def citations_of_nothing(name: str, text: str) -> Iterator[str]:
    """Mentions of documents that are in no clone."""
    for found in NOWHERE.finditer(text):
        line = text[: found.start()].count("\n") + 1
        yield f"{name}:{line}: {found[0]!r}: name a heading of our documents or a public page"


def test_every_link_of_every_page_leads_to_a_file_and_a_heading() -> None:
    pages = {name: text for name, text in files().items() if name.endswith(".md")}

    assert len(pages) > 20
    assert [problem for name, text in pages.items() for problem in broken_links(name, text)] == []


def test_every_file_and_heading_that_a_text_names_exists() -> None:
    assert [problem for name, text in files().items() for problem in broken_citations(name, text)] == []


def test_nothing_cites_what_is_in_no_clone() -> None:
    assert [problem for name, text in files().items() for problem in citations_of_nothing(name, text)] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[it](docs/design.md), [metrics](docs/operations.md#metrics), [home](https://example.com/x.md)", []),
        ("[that](docs/nothing.md)", ["README.md: there is no docs/nothing.md"]),
        ("[meters](docs/operations.md#meters)", ["README.md: docs/operations.md has no heading #meters"]),
        ("[here](#no)", ["README.md: README.md has no heading #no"]),
    ],
)
def test_a_broken_link_is_found(text: str, expected: list[str]) -> None:
    assert list(broken_links("README.md", text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("as docs/design.md (Drift is exact) says", []),
        ("as docs/design.md (Drift is\n# exact) says", []),
        ("as docs/design.md (Drift is vague) says", ["x.py: docs/design.md has no heading 'Drift is vague'"]),
        ("SECURITY.md (Dependencies), controller/nothing.py", ["x.py: there is no controller/nothing.py"]),
    ],
)
def test_a_citation_of_what_is_not_there_is_found(text: str, expected: list[str]) -> None:
    assert list(broken_citations("x.py", text)) == expected


@pytest.mark.parametrize("text", ["(facts §2)", "(design property 3)", "see properties 7", "(design, Commands)", "§ 4"])
def test_a_citation_of_a_document_that_no_clone_has_is_found(text: str) -> None:
    assert list(citations_of_nothing("x.py", text)) != []


# --- decision records ------------------------------------------------------------------------------------------------


def test_every_decision_record_has_a_title_a_status_and_a_date_and_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    index = re.findall(
        r"^\| \[(.+?)\]\((\S+?)\) \| (\S+) \| (.+?) \|$",
        (folder / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )

    records = []
    for file in sorted(folder.glob("[0-9]*.md")):
        found = re.match(r"# (\d+)\. (.+)\n\nStatus: (.+), (\d{4}-\d\d-\d\d)\n", file.read_text(encoding="utf-8"))
        assert found, f"{file.name}: begin with '# N. Title' and 'Status: accepted, YYYY-MM-DD'"
        assert file.name[:3] == f"{int(found[1]):03}"
        records.append((f"{found[1]}. {found[2]}", file.name, found[4], found[3]))

    assert index == records
    numbers = [name[:3] for _, name, _, _ in records]
    assert numbers == sorted(set(numbers)), "two records have one number"
