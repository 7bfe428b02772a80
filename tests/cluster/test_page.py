"""The page in a real browser, of a real operator on a real cluster.

AZPOLICY_SCREENSHOTS=FOLDER writes the pictures of docs/page.md there.
"""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.cluster import kinds
from tests.cluster.azpolicy import Azpolicy, Operator, all_constraints, all_enforced, edit, run, wipe
from tests.cluster.browser import browser
from tests.cluster.harness import eventually
from tests.cluster.harness.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from tests.cluster.harness import TestCluster

__all__ = ["browser"]
EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "snapshot"
NAMESPACES: Final = ("checkout", "payments")
SCHEMES: Final[tuple[Any, ...]] = ("light", "dark")
PHONE: Final[Any] = {"width": 390, "height": 844}
DESKTOP: Final[Any] = {"width": 1280, "height": 860}
MARKED: Final = "this page was changed"
HOSTILE: Final = {
    "script": f"<script>document.title = '{MARKED}'</script>",
    "image": f'"><img src=x onerror="document.title = \'{MARKED}\'">',
    "template": "{{ 7 * 7 }} ${7 * 7}",
    "direction": "abc\u202egnp.exe",
    "nul": "a\0b",
    "emoji": "🦜 Grüße 政策",
    "long": "W" * 10_000,
}


@dataclass(frozen=True)
class Served:
    """A page that is served, and what it is about."""

    cluster: TestCluster
    operator: Operator
    azpolicy: Azpolicy
    snapshot: Path
    base: str

    def json(self, path: str) -> Any:
        """The document behind a page, without a browser."""
        address = f"{self.base}{path}{'&' if '?' in path else '?'}format=json"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=10) as response:
            return json.loads(response.read())

    @property
    def paths(self) -> list[str]:
        """Every page that there is."""
        rows = self.json("/policies")["rows"]
        return [
            "/",
            "/policies",
            "/policies?q=nothing+has+that",
            *(f"/policies/{each['key']}" for each in rows),
            "/assignments",
            *{f"/assignments/{each['assignmentKey']}": None for each in rows},
            "/violations",
            "/violations?by=namespace",
            *(f"/violations?namespace={each}" for each in NAMESPACES),
            "/drift",
            "/waiting",
            "/nowhere",
        ]


@pytest.fixture(scope="module")
def served(cluster: TestCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A cluster with workloads that were there before their policies, one policy that is not known, and an edit."""
    snapshot = tmp_path_factory.mktemp("page") / "snapshot"
    shutil.copytree(EXAMPLE, snapshot)
    for namespace in NAMESPACES:
        cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        for name in ("web", "worker"):
            cluster.request("POST", f"/api/v1/namespaces/{namespace}/pods", _workload(name))
    _assign(snapshot, "spot-instances", "Batch runs on spot nodes", definition="not-exported")
    with kinds.installed(cluster):
        azpolicy = Azpolicy(cluster, snapshot, user="page")
        address = f"127.0.0.1:{free_port()}"
        with azpolicy.operating("--page-listen", address, "--resync", "5") as operator:
            page = Served(cluster, operator, azpolicy, snapshot, f"http://{address}")
            eventually(lambda: all_enforced(cluster), timeout=60, what="everything to be enforced")
            eventually(lambda: page.json("/")["violatingPolicies"], timeout=90, what="an audit to be shown")
            edit(cluster, min(all_constraints(cluster)), _loosen)
            eventually(lambda: _drift(page), what="the repair to be shown")
            yield page
    for namespace in NAMESPACES:
        for name in ("web", "worker"):
            cluster.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}?gracePeriodSeconds=0")
    wipe(cluster)


def _workload(name: str) -> dict[str, Any]:
    container = {"name": name, "image": f"docker.io/library/{name}:1", "securityContext": {"privileged": True}}
    return {"metadata": {"name": name}, "spec": {"hostNetwork": True, "containers": [container]}}


def _loosen(live: dict[str, Any]) -> None:
    live["spec"]["enforcementAction"] = "dryrun"


def _drift(page: Served) -> list[dict[str, Any]]:
    return [each for each in page.json("/drift")["rows"] if each["cause"] == "drift"]


def _assign(snapshot: Path, name: str, display_name: str, *, definition: str = "") -> None:
    """Another assignment: of the example's policy for images as an audit, or of a definition that is not there."""
    document = json.loads((EXAMPLE / "assignments" / "allowed-images.json").read_text())
    properties = document["properties"]
    document["id"], document["name"] = document["id"].replace("allowed-images", name), name
    properties["displayName"] = display_name
    properties["parameters"]["effect"]["value"] = "Audit"
    if definition:
        stem = properties["policyDefinitionId"].rpartition("/")[0]
        properties["policyDefinitionId"] = f"{stem}/{definition}"
    (snapshot / "assignments" / f"{name}.json").write_text(json.dumps(document))


def opened(browser: Browser, served: Served, **options: Any) -> Page:
    """A tab in a context of its own."""
    page = browser.new_context(base_url=served.base, **{"viewport": DESKTOP, **options}).new_page()
    page.set_default_timeout(15_000)
    return page


# --- what is on it ---------------------------------------------------------------------------------------------------


def test_without_scripts_every_page_renders_and_links_lead_to_what_they_name(browser: Browser, served: Served) -> None:
    page = opened(browser, served, java_script_enabled=False)
    for path in served.paths:
        page.goto(path)
        assert page.locator("h1").is_visible(), path
        assert page.locator("h1").inner_text(), path

    page.goto("/")
    page.get_by_role("link", name="Policies", exact=True).click()
    row = page.get_by_role("row").filter(has_text="Pods run without privileged containers")
    row.get_by_role("rowheader").get_by_role("link").click()
    assert page.locator("h1").inner_text() == "Pods run without privileged containers"
    page.get_by_role("link", name="Pod security baseline everywhere").click()
    assert "/assignments/pod-security-baseline-" in page.url
    page.get_by_role("searchbox").fill("payments worker")
    page.get_by_role("searchbox").press("Enter")
    assert "/policies?q=payments+worker" in page.url
    assert page.get_by_role("row").count() > 1
    page.context.close()


def test_a_member_s_reasons_are_those_that_explain_prints_for_the_same_snapshot(
    browser: Browser, served: Served
) -> None:
    explained = run("explain", "--snapshot", served.snapshot, "-o", "json").document()["members"]
    page = opened(browser, served)
    for row in served.json("/policies")["rows"]:
        told = served.json(f"/policies/{row['key']}")["explanation"]
        assert told in explained
        page.goto(f"/policies/{row['key']}")
        assert told["message"] in page.locator("main").inner_text()
    assert len(explained) == len(served.json("/policies")["rows"])
    page.context.close()


def test_it_shows_violations_drift_with_its_editor_and_what_waits(browser: Browser, served: Served) -> None:
    page = opened(browser, served)
    page.goto("/violations?by=namespace")
    assert {"checkout", "payments"} <= set(page.locator("tbody th").all_inner_texts())
    page.goto("/violations?namespace=payments")
    assert page.get_by_text("Pod/web").count() > 0
    page.goto("/drift")
    row = page.get_by_role("row").filter(has_text="edited by kubectl-edit")
    assert "spec.enforcementAction" in row.first.inner_text()
    page.goto("/waiting")
    row = page.get_by_role("row").filter(has_text="DefinitionMissing")
    assert "To do: complete the snapshot" in row.inner_text()
    page.context.close()


def test_whoever_reads_every_page_makes_the_operator_write_nothing(browser: Browser, served: Served) -> None:
    def quiet() -> bool:
        since = served.cluster.audit_mark()
        served.operator.wait_syncs(1)
        return served.azpolicy.writes(since) == []

    eventually(quiet, timeout=60, what="the operator to have nothing left to write")
    since = served.cluster.audit_mark()
    page = opened(browser, served)
    for path in served.paths:
        page.goto(path)
    page.context.close()
    served.operator.wait_syncs(1)

    assert served.azpolicy.writes(since) == []


# --- who can use it --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_passes_the_rules_of_accessibility(browser: Browser, served: Served, scheme: Any, viewport: Any) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = opened(browser, served, color_scheme=scheme, viewport=viewport)
    for path in served.paths:
        page.goto(path)
        found = Axe().run(page)
        assert found.violations_count == 0, f"{path}: {found.generate_report()}"
        assert found.response["passes"]
    page.context.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_with_the_keyboard_alone_everything_is_reached_and_the_focus_is_seen(
    browser: Browser, served: Served, scheme: Any
) -> None:
    page = opened(browser, served, color_scheme=scheme)
    page.goto("/policies")
    wanted = page.locator("a, button, input, select").count()
    reached: set[str] = set()
    for number in range(wanted):
        page.keyboard.press("Tab")
        told = page.evaluate(
            """() => {
                const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect();
                const all = [...document.querySelectorAll('a, button, input, select')];
                return {index: all.indexOf(at), outline: style.outlineStyle, width: parseFloat(style.outlineWidth),
                        colour: style.outlineColor, ground: getComputedStyle(document.body).backgroundColor,
                        seen: box.width > 0 && box.left >= 0 && box.right <= innerWidth};
            }"""
        )
        assert told["index"] == number, told
        assert told["outline"] == "solid", told
        assert told["width"] >= 2, told
        assert told["colour"] != told["ground"], told
        assert told["seen"], told
        reached.add(str(told["index"]))
    assert len(reached) == wanted
    page.goto("/policies")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.context.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_colours_follow_the_scheme_and_print_is_on_white(browser: Browser, served: Served, scheme: Any) -> None:
    page = opened(browser, served, color_scheme=scheme)
    page.goto("/")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == {"light": "rgb(246, 247, 249)", "dark": "rgb(17, 21, 26)"}[scheme]
    page.emulate_media(media="print")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    assert not page.get_by_role("searchbox").is_visible()
    page.context.close()


def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Browser, served: Served) -> None:
    page = opened(browser, served, viewport=PHONE)
    for path in served.paths:
        page.goto(path)
        assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"], path
    page.context.close()


def test_the_pictures_of_the_documentation(browser: Browser, served: Served) -> None:
    """Every page can be drawn; where a folder is named, these are kept."""
    folder = os.environ.get("AZPOLICY_SCREENSHOTS")
    key = next(each["key"] for each in served.json("/violations")["rows"])
    for name, path, scheme, height in (
        ("page-overview", "/", "light", 560),
        ("page-policy", f"/policies/{key}", "dark", 1120),
        ("page-violations", "/violations", "light", 480),
    ):
        page = opened(browser, served, color_scheme=scheme, viewport={**DESKTOP, "height": height})
        page.goto(path)
        picture = page.screenshot(path=Path(folder) / f"{name}.png" if folder else None)
        assert picture.startswith(b"\x89PNG")
        page.context.close()


# --- what comes from elsewhere: last, as it changes the snapshot -----------------------------------------------------


def test_hostile_names_stay_text_in_a_browser_that_runs_scripts(browser: Browser, served: Served) -> None:
    for name, text in HOSTILE.items():
        _assign(served.snapshot, f"hostile-{name}", text)
    wanted = {f"hostile-{name}" for name in HOSTILE}
    eventually(
        lambda: wanted <= {each["key"].rpartition("-")[0] for each in served.json("/assignments")["rows"]},
        timeout=60,
        what="the hostile assignments to be shown",
    )
    page = opened(browser, served, viewport=PHONE)
    said: list[str] = []
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url.removeprefix(served.base).partition("?")[0]))
    for path in [*served.paths, *(f"/policies?q={name}" for name in HOSTILE)]:
        answer = page.goto(path)
        assert answer is not None
        assert MARKED not in page.title() or "<" in page.title()
        assert page.locator("main img, main script, main iframe, [onerror], [style]").count() == 0, path
        assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"], path

    assert [each for each in said if "404" not in each] == []
    assert not {each for each in asked if each.startswith(("http", "/x"))}
    page.goto("/assignments")
    shown = page.locator("tbody th a").all_inner_texts()
    assert {HOSTILE["script"], HOSTILE["image"], HOSTILE["template"], HOSTILE["emoji"]} <= set(shown)
    assert {"abc gnp.exe", "a b"} <= set(shown)
    page.context.close()
