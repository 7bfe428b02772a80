"""What the chart gives Prometheus and Grafana, judged by promtool over the operator's own metrics page.

That each alert fires when its fault is there is shown in tests/cluster/test_alerts.py.
"""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.report.assigned import Enforcement
from controller.report.conditions import Counts
from controller.report.metrics import Metrics, PolicyViolations
from tests.deploy.helm import CHART, ROOT, assemble, render, template
from tests.deploy.promtool import Scraped, assert_firing, assert_says, check, metrics_in, metrics_of, plain
from tests.snapshots import CLUSTER_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.timeout(900)  # helm and promtool are built first where they have not been

DASHBOARD: Final = json.loads((CHART / "files" / "monitoring" / "dashboard.json").read_text())
ENABLED: Final[dict[str, dict[str, Any]]] = {
    kind: {"enabled": True} for kind in ("serviceMonitor", "azurePodMonitor", "prometheusRule", "dashboard")
}
NOW: Final = 1_800_000_000.0
DAY: Final = 86400.0
INTERVAL: Final = 900.0
GRID: Final = 24
MINUTES_OF_A_DAY: Final = 1440
REGISTRIES: Final = PolicyViolations("/providers/a", "r", "Known registries", "deny", 0)


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return assemble(tmp_path_factory.mktemp("helm") / "chart")


def values(**monitoring: Any) -> dict[str, Any]:
    """Values of the chart with these for monitoring."""
    identity = {"clusterId": CLUSTER_ID, "tenantId": "contoso.example.com", "clientId": "0c0c0c0c"}
    return {"image": {"repository": "registry.example.com/azpolicy"}, "azure": identity, "monitoring": monitoring}


def made(chart: Path, kind: str, **monitoring: Any) -> dict[str, Any]:
    """The one object of a kind."""
    (found,) = [each for each in render(chart, values(**monitoring)) if each["kind"] == kind]
    return found


def rules(chart: Path, **settings: Any) -> dict[str, Any]:
    """The rule file that Prometheus gets."""
    spec: dict[str, Any] = made(chart, "PrometheusRule", prometheusRule={"enabled": True, **settings})["spec"]
    return spec


def alerts(chart: Path, **settings: Any) -> dict[str, dict[str, Any]]:
    """The alerts by name."""
    return {rule["alert"]: rule for group in rules(chart, **settings)["groups"] for rule in group["rules"]}


def page(*, well: bool, leads: bool = True, age: float = 0.0, violations: int = 0) -> str:
    """The operator's page: all is well, or nothing is; `age` is of the last good sync, `violations` are of a policy."""
    metrics = Metrics(lambda: NOW)
    metrics.last_good(NOW - age)
    metrics.polls_every(INTERVAL)
    metrics.leading(leads=leads)
    metrics.gatekeeper(ready=well)
    bad = 0 if well else 1
    metrics.synced(Counts(enforced=3, unresolved=bad, conflicts=bad, problems=bad), problems=not well)
    metrics.reported([Enforcement.FAILED] * bad, [], templates_failed=bad)
    metrics.fighting(bad)
    metrics.policies(lambda: [REGISTRIES._replace(total=violations)] if leads else [])
    return metrics.text().decode()


def replica(name: str, *pages: tuple[str, int]) -> Scraped:
    """A replica as the ServiceMonitor has it scraped."""
    return Scraped({"job": "azpolicy-metrics", "namespace": "azpolicy-system", "pod": name}, pages)


# --- what is made ----------------------------------------------------------------------------------------------------


def test_nothing_is_made_unless_it_is_asked_for(chart: Path) -> None:
    plainly = {(each["kind"], each["metadata"]["name"]) for each in render(chart, values())}

    monitored = {(each["kind"], each["metadata"]["name"]) for each in render(chart, values(**ENABLED))}

    assert monitored - plainly == {
        ("ServiceMonitor", "azpolicy"),
        ("PodMonitor", "azpolicy"),
        ("PrometheusRule", "azpolicy"),
        ("ConfigMap", "azpolicy-dashboard"),
    }


def test_the_service_monitor_finds_the_metrics_service_and_its_port(chart: Path) -> None:
    scrape = {"interval": "15s", "scrapeTimeout": "5s", "relabelings": [{"action": "labeldrop", "regex": "pod"}]}
    objects = render(chart, values(serviceMonitor={"enabled": True, "labels": {"release": "prometheus"}, **scrape}))
    (service,) = [each for each in objects if each["kind"] == "Service"]
    (monitor,) = [each for each in objects if each["kind"] == "ServiceMonitor"]

    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["metadata"]["namespace"] == service["metadata"]["namespace"]
    assert service["metadata"]["labels"].items() >= monitor["spec"]["selector"]["matchLabels"].items()
    assert monitor["spec"]["endpoints"] == [{"port": service["spec"]["ports"][0]["name"], **scrape}]


def test_azure_monitor_finds_the_pods_and_their_port_and_drops_no_series(chart: Path) -> None:
    """https://learn.microsoft.com/azure/azure-monitor/containers/prometheus-metrics-scrape-crd."""
    given = {"interval": "1m", "metricRelabelings": [{"action": "drop", "regex": "process_.*"}]}
    objects = render(chart, values(azurePodMonitor={"enabled": True, "labels": {"team": "platform"}, **given}))
    (deployment,) = [each for each in objects if each["kind"] == "Deployment"]
    (monitor,) = [each for each in objects if each["kind"] == "PodMonitor"]
    pod = deployment["spec"]["template"]

    assert monitor["apiVersion"] == "azmonitoring.coreos.com/v1"
    assert monitor["metadata"]["labels"]["team"] == "platform"
    assert monitor["metadata"]["namespace"] == deployment["metadata"]["namespace"]
    assert pod["metadata"]["labels"].items() >= monitor["spec"]["selector"]["matchLabels"].items()
    assert monitor["spec"]["podMetricsEndpoints"] == [{"port": "metrics", **given}]
    assert [each["name"] for each in pod["spec"]["containers"][0]["ports"]] == ["metrics"]
    limits = {key: value for key, value in monitor["spec"].items() if key.startswith("label")}
    assert limits == {"labelLimit": 63, "labelNameLengthLimit": 511, "labelValueLengthLimit": 1023}


def test_an_operators_own_labels_and_where_the_runbook_is_are_on_every_alert(chart: Path) -> None:
    rule = made(
        chart,
        "PrometheusRule",
        prometheusRule={
            "enabled": True,
            "labels": {"release": "prometheus"},
            "alertLabels": {"team": "platform", "severity": "page"},
            "runbook": "https://wiki.example.com/azpolicy",
        },
    )

    assert rule["metadata"]["labels"]["release"] == "prometheus"
    for alert in rule["spec"]["groups"][0]["rules"]:
        assert alert["labels"]["team"] == "platform"
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert alert["annotations"]["runbook_url"].startswith("https://wiki.example.com/azpolicy#azpolicy")


def test_an_alert_that_is_disabled_is_left_out_and_one_that_is_not_known_refused(chart: Path) -> None:
    assert alerts(chart).keys() - alerts(chart, disabled=["AzpolicyFight"]).keys() == {"AzpolicyFight"}

    refused = template(chart, values(prometheusRule={"enabled": True, "disabled": ["AzpolicyFights"]}), check=False)

    assert "/monitoring/prometheusRule/disabled/0" in refused.stderr


def test_the_dashboard_is_in_a_config_map_that_grafana_finds(chart: Path) -> None:
    found = made(chart, "ConfigMap", dashboard={"enabled": True, "annotations": {"grafana_folder": "Policies"}})
    other = made(chart, "ConfigMap", dashboard={"enabled": True, "label": "boards", "labelValue": "yes"})

    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"] == {"grafana_folder": "Policies"}
    assert other["metadata"]["labels"]["boards"] == "yes"
    assert json.loads(found["data"]["azpolicy.json"]) == DASHBOARD


# --- alerts ----------------------------------------------------------------------------------------------------------


def test_prometheus_takes_the_rules_and_has_nothing_against_them(chart: Path) -> None:
    assert check(rules(chart)) == ""
    assert check(rules(chart, thresholds={"syncIntervals": 2.5, "lastGoodHours": 0.5, "driftRepairs": 10})) == ""


def test_what_is_no_rule_is_found() -> None:
    broken = {"alert": "Broken", "expr": "azpolicy_conflicts > and azpolicy_leader == 1"}

    assert "parse error" in check({"groups": [{"name": "broken", "rules": [broken]}]})


def test_every_alert_says_what_happened_and_leads_to_what_to_do(chart: Path) -> None:
    found = alerts(chart)
    headings = re.findall(r"^### (Azpolicy\w+)$", (ROOT / "docs" / "monitoring.md").read_text(), re.MULTILINE)
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["monitoring"]["properties"]

    for name, alert in found.items():
        assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert alert["annotations"]["runbook_url"] == f"docs/monitoring.md#{name.lower()}"
        assert "<" not in json.dumps(alert["annotations"]), "a threshold that is not filled in"
    assert headings == list(found)
    assert schema["prometheusRule"]["properties"]["disabled"]["items"]["enum"] == list(found)


def test_the_leaders_troubles_fire_each_the_alert_that_says_best_what_to_do(chart: Path) -> None:
    troubled = replica("azpolicy-0", (page(well=False, age=2 * DAY), 60))

    labels = {"job": "azpolicy-metrics", "namespace": "azpolicy-system", "pod": "azpolicy-0"}
    critical = ("AzpolicyGatekeeperAway", "AzpolicyLastGoodStateOld")
    warning = ("AzpolicyNoGoodSync", "AzpolicyConflict", "AzpolicyTemplateFailed", "AzpolicyMemberUnresolved")
    expected = [
        *({"alertname": name, "severity": "critical", **labels} for name in critical),
        *({"alertname": name, "severity": "warning", **labels} for name in (*warning, "AzpolicyFight")),
    ]
    assert_firing(rules(chart), [troubled], *expected)


def test_what_a_standby_remembers_of_its_troubles_fires_nothing(chart: Path) -> None:
    """It led once and hung; another leads now."""
    leader = replica("azpolicy-1", (page(well=True), 60))
    remembers = replica("azpolicy-0", (page(well=False, leads=False, age=2 * DAY), 60))
    fresh = replica("azpolicy-2", (Metrics(lambda: NOW).text().decode(), 60))

    assert_firing(rules(chart), [leader, remembers, fresh])


@pytest.mark.parametrize(
    ("thresholds", "age", "fires"),
    [
        ({}, 2.9 * INTERVAL, ""),
        ({}, 3.1 * INTERVAL, "AzpolicyNoGoodSync"),
        ({"syncIntervals": 5}, 4.9 * INTERVAL, ""),
        ({"syncIntervals": 5}, 5.1 * INTERVAL, "AzpolicyNoGoodSync"),
        ({"syncIntervals": 1000}, 0.9 * DAY, ""),
        ({"syncIntervals": 1000}, 1.1 * DAY, "AzpolicyLastGoodStateOld"),
        ({"syncIntervals": 1000, "lastGoodHours": 48}, 1.9 * DAY, ""),
    ],
)
def test_when_it_is_too_long_without_a_good_sync_is_a_setting(
    chart: Path, thresholds: dict[str, Any], age: float, fires: str
) -> None:
    aged = replica("azpolicy-0", (page(well=True, age=age), 10))

    severity = "critical" if fires == "AzpolicyLastGoodStateOld" else "warning"
    expected = [{"alertname": fires, "severity": severity, **aged.labels}] if fires else []
    assert_firing(rules(chart, thresholds=thresholds), [aged], *expected)


def drift(repairs: int) -> str:
    """A page on which one object was repaired so often."""
    counter = f'azpolicy_drift_repaired_total{{kind="K8sPods",name="one"}} {repairs}\n'
    return f"{page(well=True)}# TYPE azpolicy_drift_repaired_total counter\n{counter if repairs else ''}"


@pytest.mark.parametrize(
    ("pages", "times"),
    [
        pytest.param([(drift(0), 60), (drift(3), 5)], 3, id="three between two scrapes, of an object never repaired"),
        pytest.param([(drift(0), 60), (drift(2), 5)], 0, id="two"),
        pytest.param([(drift(7), 90), (drift(8), 20), (drift(10), 20)], 3, id="three more in an hour"),
        pytest.param([(drift(7), 90), (drift(8), 20), (drift(9), 20)], 0, id="two more in an hour"),
        pytest.param([(drift(0), 60), (drift(3), 90)], 0, id="three, an hour ago"),
        pytest.param([(drift(7), 90), ("", 30), (drift(7), 50)], 0, id="none, and no scrape an hour ago"),
        pytest.param([(drift(7), 90), ("", 1), (drift(3), 5)], 3, id="three since the process began again"),
    ],
)
def test_drift_repeats_where_one_object_was_repaired_three_times_in_an_hour(
    chart: Path, pages: list[tuple[str, int]], times: int
) -> None:
    alert = {"alertname": "AzpolicyDriftRepeats", "severity": "warning", "kind": "K8sPods", "name": "one"}
    drifting = replica("azpolicy-0", *pages)

    assert_firing(rules(chart), [drifting], *[{**alert, **drifting.labels}] * bool(times))
    if times:
        found = alerts(chart)["AzpolicyDriftRepeats"]["annotations"]
        said = {**found, "summary": f"K8sPods/one was changed and repaired {times} times in an hour"}
        assert_says(rules(chart), [drifting], {**alert, **drifting.labels}, **said)


@pytest.mark.parametrize(
    ("before", "now", "thresholds", "more"),
    [
        pytest.param(3, 5, {}, 2, id="more"),
        pytest.param(3, 3, {}, 0, id="as many"),
        pytest.param(5, 3, {}, 0, id="less"),
        pytest.param(3, 13, {"violationsMore": 10}, 0, id="as many more as are allowed"),
        pytest.param(3, 14, {"violationsMore": 10}, 11, id="one more than is allowed"),
    ],
)
def test_more_violations_than_a_day_ago_are_told_whichever_replica_leads(
    chart: Path, before: int, now: int, thresholds: dict[str, Any], more: int
) -> None:
    first, later = page(well=True, violations=before), page(well=True, violations=now)
    standby = page(well=True, leads=False)
    # One led for a day, and another leads since.
    one = replica("azpolicy-0", (first, MINUTES_OF_A_DAY), (standby, 60))
    other = replica("azpolicy-1", (standby, MINUTES_OF_A_DAY), (later, 60))

    labels = {label: value for label, value in one.labels.items() if label != "pod"}
    named = {"assignment": "/providers/a", "reference": "r", "policy": "Known registries"}
    alert = {"alertname": "AzpolicyMoreViolations", "severity": "warning", **named, **labels}
    assert_firing(rules(chart, thresholds=thresholds), [one, other], *[alert] * bool(more))
    if more:
        found = alerts(chart)["AzpolicyMoreViolations"]["annotations"]
        said = {**found, "summary": f"{more} more objects violate Known registries than a day ago"}
        assert_says(rules(chart, thresholds=thresholds), [one, other], alert, **said)


def test_a_policy_that_was_assigned_today_has_no_more_violations_than_a_day_ago(chart: Path) -> None:
    new = page(well=True, violations=9)
    before = page(well=True).replace("azpolicy_policy_violations{", "something_else{")

    assert_firing(rules(chart), [replica("azpolicy-0", (before, MINUTES_OF_A_DAY), (new, 60))])


# --- the dashboard ---------------------------------------------------------------------------------------------------


def expressions() -> Iterator[str]:
    """What the dashboard asks."""
    yield from (target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])


def test_prometheus_takes_every_expression_of_the_dashboard() -> None:
    recorded = [{"record": f"panel:{number}", "expr": plain(each)} for number, each in enumerate(expressions())]

    assert check({"groups": [{"name": "dashboard", "rules": recorded}]}) == ""
    assert not [rule["expr"] for rule in recorded if "$" in rule["expr"]], "a variable that Grafana does not know"


def test_alerts_and_dashboard_ask_for_metrics_that_the_operator_has(chart: Path) -> None:
    has = metrics_of(page(well=True))
    asked = {alert["expr"] for alert in alerts(chart).values()} | set(expressions())

    assert set().union(*map(metrics_in, asked)) <= has


@pytest.mark.parametrize("counter", ["azpolicy_syncs_total", "azpolicy_source_polls_total", "azpolicy_changes_total"])
def test_a_counter_whose_labels_are_known_shows_its_first_count_as_an_increase(counter: str) -> None:
    """Prometheus sees no increase where a series begins with it."""
    fresh = Metrics(lambda: NOW).text().decode()
    synced = page(well=True)

    assert counter in {line.partition("{")[0] for line in fresh.splitlines() if line.endswith(" 0.0")}
    assert {line.rpartition(" ")[0] for line in synced.splitlines() if line.startswith(counter)} == {
        line.rpartition(" ")[0] for line in fresh.splitlines() if line.startswith(counter)
    }


def test_every_panel_is_titled_described_and_has_a_unit_a_place_and_an_id_of_its_own() -> None:
    panels = DASHBOARD["panels"]

    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert 0 <= panel["gridPos"]["x"] < panel["gridPos"]["x"] + panel["gridPos"]["w"] <= GRID
    for one, other in itertools.combinations([panel["gridPos"] for panel in panels], 2):
        assert not overlap(one, other), (one, other)


def overlap(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    """Whether two rectangles share a place."""
    return all(
        one[start] < other[start] + other[length] and other[start] < one[start] + one[length]
        for start, length in (("x", "w"), ("y", "h"))
    )


def test_the_dashboard_fits_any_grafana_and_any_prometheus() -> None:
    """A fixed uid, so that links to it last; no id, which is a database's; the data source chosen by whoever looks."""
    asked = [DASHBOARD["panels"], DASHBOARD["templating"]["list"]]
    sources = re.findall(r'"uid": "([^"]*)"', json.dumps(asked))

    assert DASHBOARD["uid"] == "azpolicy"
    assert "id" not in DASHBOARD
    assert set(sources) == {"${datasource}"}
    assert all(panel["datasource"] for panel in DASHBOARD["panels"])
    assert [each["name"] for each in DASHBOARD["templating"]["list"] if each["type"] == "datasource"] == ["datasource"]
