"""HTML of a page. Every value is escaped: templates mark nothing as safe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

if TYPE_CHECKING:
    from controller.page.views import Page

FOLDER: Final = Path(__file__).with_name("html")


def _address(path: str, **query: object) -> str:
    """An address of this page; what is empty is left out of its query."""
    given = {key: value for key, value in query.items() if value not in ("", None)}
    return f"{path}?{urlencode(given)}" if given else path


def environment() -> Environment:
    """The templates, each of them compiled when it is first used."""
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["address"] = _address
    return made


def html(templates: Environment, page: Page, path: str, query: str) -> str:
    """The page as a whole document; `path` and `query` are where it was asked for, for the link to its JSON."""
    template = templates.get_template(f"{page.name}.html")
    return template.render(page=page, d=page.document, path=path, query=query)
