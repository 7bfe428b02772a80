"""Every page and its JSON; what comes from elsewhere stays text; what is not a page, and who may ask."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import pytest

from controller.cluster.apply import Action, Result
from controller.cluster.health import GatekeeperHealth, GatekeeperProblem
from controller.cluster.lean import Violation
from controller.commands.explain import explain, reasons
from controller.errors import InputError
from controller.page import facts, render, server, views
from controller.page.server import HEADERS, is_own_host, serving
from controller.policy.model import NotApplied, NotAppliedReason, Unresolved, UnresolvedReason
from controller.report.assigned import assigned_name, assignment_name
from controller.report.violations import Findings
from controller.text import printable
from tests.unit.cluster_builders import constraint, desired_state, member, template
from tests.unit.page.replicas import IN_SYNC, Leading, StandingBy, browsing, enforcing, named

if TYPE_CHECKING:
    from aiohttp import ClientResponse

    from controller.operator.main import Replica

KEY: Final = assigned_name(named("x"))
ASSIGNMENT: Final = assignment_name(named("x").assignment_id)
VIOLATION: Final = Violation("team-a", "Pod", "web-0", "it runs as root")
PATHS: Final = (
    "/",
    "/policies",
    "/policies?q=runs&outcome=Enforced",
    f"/policies/{KEY}",
    "/assignments",
    f"/assignments/{ASSIGNMENT}",
    "/violations",
    "/violations?by=namespace",
    "/violations?namespace=team-a",
    "/drift",
    "/waiting",
    "/nowhere",
)
PATHS_OF_NAMES: Final = tuple(path for path in PATHS if "q=" not in path)
CHANGE: Final = {
    "time": "2026-03-01T11:59:00Z",
    "action": "replaced",
    "object": str(constraint(by=named("x")).ref),
    "cause": "drift",
    "detail": "spec.enforcementAction was dryrun",
    "editor": "kubectl-edit",
}
HOSTILE: Final = {
    "script": "<script>alert(1)</script>",
    "attribute": '"><img src=x onerror=alert(1)>',
    "template": "{{ 7 * 7 }}{% raw %}",
    "address": "javascript:alert(1)//' onmouseover='alert(1)",
    "direction": "abc\u202egnp.exe\u2066",
    "nul": "a\0b\x1b[31m\r\n\t",
    "surrogate": "a\ud800b",
    "emoji": "🦜 Grüße 政策",
    "long": "<b>" + "x" * 100_000,
    "entity": "&lt;script&gt;&#0;</title></textarea>",
}


class Read(HTMLParser):
    """A document's tags with the names of their attributes, in order, its text, and the addresses that it links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.text: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]

    def handle_data(self, data: str) -> None:
        self.text.append(" ".join(data.split()))


def full(name: str = "Containers run as somebody") -> Leading:
    """A replica with something to say on each page, whatever it says under a name from elsewhere."""
    by, other = named(name, assignment=name), named(name, assignment=name, reference="other")
    found = enforcing(by, violations=[replace_text(VIOLATION, name)])
    assert found.desired is not None
    unresolved = Unresolved(other, UnresolvedReason.PARAMETER, name)
    return Leading(
        replace(found.desired, outcomes=(*found.desired.outcomes, unresolved)),
        health=found.health,
        changes=({**CHANGE, "detail": name, "editor": name},),
        status=replace(IN_SYNC, problems=(Result(template().ref, Action.CONFLICT, "Conflict", name),), source=name),
    )


def replace_text(violation: Violation, text: str) -> Violation:
    return violation._replace(message=text, name=text)


async def document(client: Any, path: str) -> Any:
    """The JSON behind a page."""
    response = await client.get(path + ("&" if "?" in path else "?") + "format=json")
    assert response.content_type == "application/json"
    return json.loads(await response.text())


def secured(response: ClientResponse) -> bool:
    return all(response.headers.get(name) for name in HEADERS)


# --- pages and their JSON --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
async def test_every_page_is_a_whole_document_without_scripts_and_has_json_behind_it(path: str) -> None:
    async with browsing(full()) as client:
        response = await client.get(path)
        read = Read(await response.text())
        told = await document(client, path)

    assert response.status == (404 if path == "/nowhere" else 200)
    assert response.content_type == "text/html"
    assert secured(response)
    assert not {"script", "style", "iframe", "object"} & {tag for tag, _ in read.tags}
    assert not [name for _, names in read.tags for name in names if name.startswith("on") or name == "style"]
    assert [urlsplit(link)[:2] for link in read.links] == [("", "")] * len(read.links)
    assert told["schema"] == views.SCHEMA
    assert told["readAt"] == "2026-03-01T12:00:00Z"
    if told["view"] != "missing":
        assert any("format=json" in link for link in read.links)


@pytest.mark.parametrize("path", PATHS)
async def test_what_a_page_links_is_there(path: str) -> None:
    async with browsing(full()) as client:
        for link in Read(await (await client.get(path)).text()).links:
            if link.startswith("/") and "format=json" not in link:
                assert (await client.get(link)).status == 200, link


async def test_the_style_and_the_icon_are_the_page_s_own() -> None:
    async with browsing(full()) as client:
        for path, content_type in (("/style.css", "text/css"), ("/icon.svg", "image/svg+xml")):
            response = await client.get(path)
            assert (response.status, response.content_type) == (200, content_type)
            assert secured(response)


async def test_the_overview_says_whether_it_is_in_sync_and_how_gatekeeper_is() -> None:
    away = GatekeeperHealth(GatekeeperProblem.WEBHOOK_UNAVAILABLE, "no Gatekeeper pod answers")
    async with browsing(enforcing(named("x"))) as client:
        good = await document(client, "/")
        assert "In sync" in await (await client.get("/")).text()
    async with browsing(Leading(desired_state(), replace(IN_SYNC, gatekeeper=away))) as client:
        bad = await document(client, "/")
        assert "Not as Azure says" in await (await client.get("/")).text()

    assert (good["ready"]["status"], good["ready"]["reason"], good["waiting"]) == ("True", "InSync", 0)
    assert (bad["ready"]["status"], bad["ready"]["reason"]) == ("False", "WebhookUnavailable")
    assert [each["message"] for each in bad["firstWaiting"]] == ["no Gatekeeper pod answers"]


async def test_before_the_first_reading_the_overview_says_so() -> None:
    async with browsing(Leading(None, replace(IN_SYNC, settled=False))) as client:
        told = await document(client, "/")

    assert (told["ready"]["status"], told["ready"]["reason"]) == ("Unknown", "Progressing")


async def test_a_member_s_reasons_are_those_of_explain() -> None:
    exempt = NotApplied(named("Exempt", reference="e"), NotAppliedReason.EXEMPT, "the exemption Shop ends in May")
    unknown = Unresolved(named("Odd", reference="u"), UnresolvedReason.EXPRESSION, "an unknown function: odd()")
    by = named("Containers run as somebody")
    desired = desired_state(template(members=(by,)), constraint(by=by), outcomes=(exempt, unknown))
    async with browsing(Leading(desired)) as client:
        for each in explain(desired).members:
            of = next(o.member for o in desired.outcomes if o.member.reference_id == each["referenceId"])
            told = await document(client, f"/policies/{assigned_name(of)}")
            text = Read(await (await client.get(f"/policies/{assigned_name(of)}")).text()).text

            assert told["explanation"] == each
            assert {" ".join(said.split()) for _, said in reasons(each) if said} <= set(text)


async def test_an_assignment_shows_its_own_members_alone() -> None:
    one, two = member("one", reference="a"), member("two", reference="b")
    async with browsing(enforcing(one, two)) as client:
        listed = await document(client, "/assignments")
        told = await document(client, f"/assignments/{assignment_name(one.assignment_id)}")

    assert {each["key"] for each in listed["rows"]} == {assignment_name(each.assignment_id) for each in (one, two)}
    assert [each["key"] for each in told["rows"]] == [assigned_name(one)]


async def test_violations_are_shown_by_policy_and_by_namespace() -> None:
    cluster_wide = Violation("", "Namespace", "team-b", "it has no owner")
    async with browsing(enforcing(named("x"), violations=[VIOLATION, cluster_wide])) as client:
        by_policy = await document(client, "/violations")
        by_namespace = await document(client, "/violations?by=namespace")
        listed = await document(client, "/violations?namespace=team-a")
        without = await document(client, "/violations?namespace=")
        of_member = await document(client, f"/policies/{KEY}")

    assert [(each["key"], each["violations"]) for each in by_policy["rows"]] == [(KEY, 2)]
    assert {(each["namespace"], each["listed"]) for each in by_namespace["rows"]} == {("team-a", 1), ("", 1)}
    assert [(each["objectName"], each["violation"]) for each in listed["rows"]] == [("web-0", "it runs as root")]
    assert [each["objectName"] for each in without["rows"]] == ["team-b"]
    assert {each["objectName"] for each in of_member["rows"]} == {"web-0", "team-b"}


async def test_all_that_a_constraint_lists_is_shown_where_it_is_known() -> None:
    leading = enforcing(named("x"), violations=[VIOLATION])
    listed = tuple(VIOLATION._replace(name=f"web-{number}") for number in range(views.ROWS + 1))
    leading.found = {constraint(by=named("x")).ref: Findings(80, listed)}
    async with browsing(leading) as client:
        told = await document(client, f"/policies/{KEY}?page=2")
        by_namespace = await document(client, "/violations?by=namespace")

    assert (told["total"], len(told["rows"])) == (views.ROWS + 1, 1)
    assert [each["listed"] for each in by_namespace["rows"]] == [views.ROWS + 1]


async def test_drift_says_what_differed_and_who_edited_it_and_of_which_policy_it_is() -> None:
    fought = constraint(by=named("x")).ref
    leading = enforcing(named("x"))
    leading.changes = (CHANGE,)
    leading.state.status = replace(IN_SYNC, fights=(fought,))
    async with browsing(leading) as client:
        told = await document(client, "/drift")

    assert [(each["editor"], each["detail"]) for each in told["rows"]] == [(CHANGE["editor"], CHANGE["detail"])]
    assert [each["key"] for each in told["rows"][0]["members"]] == [KEY]
    assert [(each["object"], each["members"][0]["key"]) for each in told["fights"]] == [(str(fought), KEY)]


async def test_what_waits_for_somebody_is_all_that_does_not_pass_by_itself() -> None:
    by, other = named("x"), named("y", reference="y")
    status = replace(
        IN_SYNC,
        problems=(Result(constraint(by=by).ref, Action.CONFLICT, "Conflict", "somebody else's object is there"),),
        fights=(template().ref,),
        refused_count=12,
        refused_digest="abcdef012345",
        source_error="Azure answers 403",
    )
    outcomes = [Unresolved(other, UnresolvedReason.PARAMETER, "the value does not fit")]
    desired = desired_state(template(members=(by,)), constraint(by=by), outcomes=outcomes)
    async with browsing(Leading(desired, status)) as client:
        told = await document(client, "/waiting")

    waiting = {each["what"]: each for each in told["rows"]}
    assert set(waiting) == {"Conflict", "Fight", "Refused", "Parameter"}
    assert [each["key"] for each in waiting["Conflict"]["members"]] == [assigned_name(by)]
    assert "azpolicy sync --force-prune abcdef012345" in waiting["Refused"]["message"]
    assert waiting["Parameter"]["todo"] == explain(desired).members[-1]["advice"]
    assert told["waiting"] == 4


async def test_a_source_that_cannot_be_read_waits_for_somebody() -> None:
    async with browsing(Leading(desired_state(), replace(IN_SYNC, source_error="Azure answers 403"))) as client:
        told = await document(client, "/waiting")

    assert [each["what"] for each in told["rows"]] == ["SourceUnreadable"]


# --- search and pages of lists ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("NGINX", {"one"}),
        ("root team-a", {"two"}),
        ("nginx root", set()),
        ("", {"one", "two"}),
        ("%3Cscript%3E", set()),
    ],
)
async def test_a_search_finds_what_has_all_its_words_anywhere(query: str, found: set[str]) -> None:
    one, two = named("Images are not nginx", reference="one"), named("Containers", reference="two")
    leading = enforcing(one, two)
    health = leading.health[constraint(by=two).ref]
    leading.health = {**leading.health, constraint(by=two).ref: replace(health, violations=1, first=(VIOLATION,))}
    async with browsing(leading) as client:
        told = await document(client, f"/policies?q={query}")

    assert {each["reference"] for each in told["rows"]} == found


async def test_long_lists_come_in_pages_that_together_are_all_of_it() -> None:
    members = [member(f"a{number}", reference=f"r{number}") for number in range(2 * views.ROWS + 1)]
    async with browsing(enforcing(*members)) as client:
        for path in ("/policies", "/assignments"):
            pages = [await document(client, f"{path}?page={number}") for number in (1, 2, 3)]
            assert [len(each["rows"]) for each in pages] == [views.ROWS, views.ROWS, 1]
            assert len({row["key"] for each in pages for row in each["rows"]}) == len(members)
            assert {each["pages"] for each in pages} == {3}
        assert 'href="/policies?page=2"' in await (await client.get("/policies")).text()


@pytest.mark.parametrize("number", ["0", "-1", "²", "99999999999999999999", "4", "1e9", "", "\0"])
async def test_a_page_that_there_is_not_is_another_one(number: str) -> None:
    async with browsing(enforcing(*(member(f"a{each}") for each in range(views.ROWS + 1)))) as client:
        response = await client.get("/policies", params={"page": number, "format": "json"})
        told = json.loads(await response.text())

    assert told["page"] in (1, 2)
    assert told["rows"]


async def test_no_page_grows_with_the_cluster() -> None:
    members = [named("x" * 500, assignment="y" * 500, reference=f"r{number}") for number in range(1000)]
    async with browsing(enforcing(*members, violations=[VIOLATION] * 3)) as client:
        for path in PATHS[:-1]:
            for form in ("html", "json"):
                response = await client.get(path, params={"format": form})
                assert len(await response.read()) < 250_000, path


# --- what comes from elsewhere is text -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_name_is_text_on_every_page_and_changes_nothing_else(name: str) -> None:
    shown = " ".join(printable(name)[:100].split())
    async with browsing(full("harmless")) as harmless, browsing(full(name)) as hostile:
        for path in PATHS_OF_NAMES:
            expected = Read(await (await harmless.get(path)).text())
            found = Read(await (await hostile.get(path)).text())
            told = await (await hostile.get(path, params={"format": "json"})).text()

            assert found.tags == expected.tags, path
            times = sum(shown in text for text in found.text)
            assert times == sum("harmless" in text for text in expected.text) or not (name.isprintable() or times == 0)
            assert all(text.isprintable() for text in found.text)
            assert json.loads(told)
            assert len(told) < 200_000


@pytest.mark.parametrize("query", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_search_is_text(query: str) -> None:
    asked = query.encode("utf-8", "replace").decode()[:1000]
    async with browsing(full()) as client:
        expected = Read(await (await client.get("/policies", params={"q": "nothing"})).text())
        response = await client.get("/policies", params={"q": asked})
        found = Read(await response.text())

    assert response.status == 200
    assert found.tags == expected.tags


# --- who may ask, and what -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/", "/policies", f"/policies/{KEY}", "/nowhere", "/style.css"])
async def test_nothing_but_reading_is_allowed(method: str, path: str) -> None:
    async with browsing(full()) as client:
        response = await client.request(method, path)

    assert response.status == 405
    assert set(response.headers["Allow"].split(",")) == {"GET", "HEAD"}
    assert secured(response)


@pytest.mark.parametrize("path", PATHS)
async def test_head_has_the_headers_of_the_page_and_no_body(path: str) -> None:
    async with browsing(full()) as client:
        got, head = await client.get(path), await client.head(path)
        assert await head.read() == b""

    assert (head.status, head.headers["Content-Length"]) == (got.status, got.headers["Content-Length"])


@pytest.mark.parametrize(
    "path",
    [
        "/policies/none",
        "/assignments/none",
        f"/policies/{KEY}/more",
        "/policies/",
        "/..%2f..%2fetc/passwd",
        "/%00",
        "/a" * 500,
    ],
)
async def test_what_is_not_there_is_not_found_and_says_where_to_go(path: str) -> None:
    async with browsing(full()) as client:
        response = await client.get(path)
        text = await response.text()

    assert response.status == 404
    assert 'href="/policies"' in text
    assert secured(response)


async def test_a_huge_request_is_refused_and_the_next_one_answered() -> None:
    async with browsing(full()) as client:
        assert (await client.get("/policies", params={"q": "x" * 100_000})).status == 400
        long = await client.get("/policies", params={"q": "x" * 5000, **{f"k{n}": "v" for n in range(100)}})
        assert long.status == 200
        assert len(await long.read()) < 30_000


@pytest.mark.parametrize(
    "host",
    [
        "localhost:8081",
        "127.0.0.1",
        "127.0.0.1:8081",
        "[::1]:8081",
        "10.1.2.3",
        "x.localhost",
        "POLICY.example.com:443",
        "azpolicy-page.azpolicy-system.svc",
        "azpolicy-page.azpolicy-system.svc.cluster.local.",
    ],
)
def test_it_answers_to_addresses_private_names_and_names_that_are_given(host: str) -> None:
    assert is_own_host(host, {"policy.example.com"})


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "evil.example:8081", "", "a b", "svc", "[x]"]
)
async def test_it_does_not_answer_to_a_name_that_a_stranger_s_site_may_have(host: str) -> None:
    async with browsing(full(), "policy.example.com") as client:
        response = await client.get("/", headers={"Host": host})
        text = await response.text()

    assert response.status == 421
    assert "--page-host" in text
    assert secured(response)


async def test_a_standby_says_where_the_facts_are_and_ends_the_connection() -> None:
    async with browsing(StandingBy()) as client:
        response = await client.get("/policies")
        text = await response.text()
        told = await document(client, "/")

    assert response.status == 503
    assert response.headers["Connection"] == "close"
    assert "kubectl --namespace azpolicy-system port-forward pod/azpolicy-5d9c7-x2x4q" in text
    assert told["leader"] == "azpolicy-5d9c7-x2x4q"


async def test_a_standby_that_knows_no_leader_says_that_it_stands_by() -> None:
    async with browsing(StandingBy(None)) as client:
        assert "stands by" in await (await client.get("/")).text()


async def test_an_error_of_ours_shows_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: object) -> None:
        raise KeyError("a secret")

    monkeypatch.setattr(facts.Facts, "of", failing)
    async with browsing(full()) as client:
        response = await client.get("/")
        text = await response.text()

    assert response.status == 500
    assert "secret" not in text
    assert secured(response)


async def test_an_address_that_cannot_be_listened_on_is_named_with_its_option() -> None:
    with pytest.raises(InputError, match=r"--page-listen nowhere: .*give HOST:PORT"):
        async with serving("nowhere", ())(cast("Replica", full())):
            pass


# --- what it costs ---------------------------------------------------------------------------------------------------


async def test_nothing_is_made_on_the_event_loop_and_facts_once_for_many_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[tuple[str, int]] = []

    def noting(name: str, real: Any) -> Any:
        def noted(*arguments: Any) -> Any:
            threads.append((name, threading.get_ident()))
            return real(*arguments)

        return noted

    monkeypatch.setattr(facts.Facts, "of", noting("facts", facts.Facts.of))
    monkeypatch.setattr(server, "html", noting("html", render.html))
    monkeypatch.setitem(views.PAGES, "/policies", noting("view", views.policies))
    monkeypatch.setattr(server, "_FRESH_SECONDS", 3600.0)
    async with browsing(full()) as client:
        for _ in range(5):
            assert (await client.get("/policies")).status == 200

    assert [name for name, _ in threads].count("facts") == 1
    assert [name for name, _ in threads].count("html") == 5
    assert threading.get_ident() not in {thread for _, thread in threads}


async def test_facts_are_read_again_once_they_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_FRESH_SECONDS", 0.0)
    leading = enforcing(named("x"))
    async with browsing(leading) as client:
        assert (await document(client, "/waiting"))["total"] == 0
        leading.state.status = replace(IN_SYNC, source_error="Azure answers 403")
        assert (await document(client, "/waiting"))["total"] == 1


def test_an_operator_without_the_page_imports_nothing_of_it() -> None:
    code = "import sys, controller.cli.run; print(*({'jinja2', 'markupsafe', 'controller.page'} & sys.modules.keys()))"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout.split() == []


async def test_more_requests_at_once_than_it_can_make_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_ASKED_AT_MOST", 1)
    async with browsing(full()) as client:
        responses = await asyncio.gather(*(client.get("/policies") for _ in range(5)))
        assert (await client.get("/policies")).status == 200

    statuses = [each.status for each in responses]
    assert sorted(set(statuses)) == [200, 503]
    assert {each.headers["Retry-After"] for each in responses if each.status == 503} == {"1"}
