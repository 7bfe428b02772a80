"""What is measured of a reading of Azure."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from controller.report.metrics import Metrics, PolicyViolations


def samples(metrics: Metrics) -> dict[str, dict[str, float]]:
    """The values of the metrics about ARM, by name and scope."""
    found: dict[str, dict[str, float]] = {}
    for family in metrics.registry.collect():
        if family.name.startswith("azpolicy_arm"):
            for each in family.samples:
                found.setdefault(each.name, {})[each.labels.get("scope", "")] = each.value
    return found


def test_every_bucket_of_arms_has_a_series_of_its_own() -> None:
    metrics = Metrics(lambda: 0.0)

    metrics.reading(
        {
            "requests": 7,
            "subscription-reads": 240,
            "subscription-global-reads": 3740,
            "tenant-reads": 245,
            "tenant-writes": 199,
            "policy-insights-requests": 498,
            "something-new": 1,
        }
    )

    assert samples(metrics) == {
        "azpolicy_arm_requests": {"": 7},
        "azpolicy_arm_remaining_reads": {
            "subscription-reads": 240,
            "subscription-global-reads": 3740,
            "tenant-reads": 245,
        },
        "azpolicy_arm_remaining_writes": {"tenant-writes": 199},
        "azpolicy_arm_remaining_requests": {"policy-insights-requests": 498},
    }


def test_a_bucket_that_the_last_reading_did_not_touch_is_not_told() -> None:
    metrics = Metrics(lambda: 0.0)
    metrics.reading({"requests": 7, "tenant-reads": 3})

    metrics.reading({"requests": 4, "subscription-reads": 246})

    assert samples(metrics)["azpolicy_arm_remaining_reads"] == {"subscription-reads": 246}


def violations(metrics: Metrics) -> list[str]:
    """The series of violations by policy as the page has them."""
    return [each for each in metrics.text().decode().splitlines() if each.startswith("azpolicy_policy_violations{")]


def test_violations_are_told_by_policy_as_they_are_at_each_scrape() -> None:
    metrics, found = Metrics(lambda: 0.0), [PolicyViolations("/a", "r", "Known registries", "deny", 7)]
    metrics.policies(lambda: found)
    assert violations(metrics) == [
        'azpolicy_policy_violations{action="deny",assignment="/a",policy="Known registries",reference="r"} 7.0'
    ]

    found[0] = found[0]._replace(total=0)
    assert violations(metrics)[0].endswith(" 0.0")

    found.clear()
    assert violations(metrics) == []


def test_a_replica_that_no_longer_leads_tells_no_violations() -> None:
    metrics = Metrics(lambda: 0.0)
    metrics.policies(lambda: [PolicyViolations("/a", "", "p", "deny", 7)])

    metrics.policies()

    assert violations(metrics) == []


def test_no_name_of_a_policy_spoils_the_page() -> None:
    metrics = Metrics(lambda: 0.0)
    names = ['a"b', "line\nbreak", "\ud800", "x" * 9999, "back\\slash"]
    same = PolicyViolations("/a", "", "p", "deny", 1)
    metrics.policies(lambda: [*(same._replace(policy=name) for name in names), same, same._replace(total=2)])

    families = {each.name: each for each in text_string_to_metric_families(metrics.text().decode())}

    found = {each.labels["policy"]: each.value for each in families["azpolicy_policy_violations"].samples}
    assert found == {'a"b': 1, "line break": 1, " ": 1, "x" * 1000: 1, "back\\slash": 1, "p": 2}
