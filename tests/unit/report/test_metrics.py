"""What is measured of a reading of Azure."""

from __future__ import annotations

from controller.report.metrics import Metrics


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
