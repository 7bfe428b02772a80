"""Prometheus' own engine without a Prometheus: promtool checks rules, and evaluates them over what operators showed.

Its clock is its own and begins at 0, a scrape a minute. So hours pass at once, and only what does not compare a metric
with the time of day can be evaluated.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.harness import tools

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

# What Grafana puts in for the variables of a dashboard.
_VARIABLES: Final = {"$__rate_interval": "5m", "$__interval": "1m", "$__range": "6h", "$namespace": ".*"}
_FIRING: Final = 'ALERTS{alertstate="firing"}'


@dataclass(frozen=True, slots=True)
class Scraped:
    """A target as Prometheus knows it: its labels, and its pages with the minutes each stayed so; "": no answer."""

    labels: Mapping[str, str]
    pages: Sequence[tuple[str, int]]

    @property
    def minutes(self) -> int:
        """For how long it was looked at."""
        return sum(minutes for _, minutes in self.pages)

    def series(self) -> Iterator[dict[str, str]]:
        """Its series as promtool takes them."""
        samples = [dict(_samples(page, self.labels)) for page, _ in self.pages]
        for name in sorted(set().union(*samples)):
            values = [(each.get(name), minutes) for each, (_, minutes) in zip(samples, self.pages, strict=True)]
            yield {"series": name, "values": " ".join(_values(values))}


def check(rules: Mapping[str, Any]) -> str:
    """What `promtool check rules` has against a rule file, empty where it has nothing."""
    with tempfile.TemporaryDirectory() as folder:
        file = _written(Path(folder) / "rules.json", rules)
        ended = _promtool("check", "rules", "--lint=all", "--lint-fatal", str(file))
    return ended.stderr + ended.stdout if ended.returncode else ""


def assert_firing(rules: Mapping[str, Any], scraped: Iterable[Scraped], *alerts: Mapping[str, str]) -> None:
    """Exactly these alerts, by all their labels, fire in the end."""
    expected = [{"labels": _series("ALERTS", {**alert, "alertstate": "firing"}), "value": 1} for alert in alerts]
    _evaluate(rules, scraped, promql_expr_test=[{"expr": _FIRING, "exp_samples": expected}])


def assert_says(rules: Mapping[str, Any], scraped: Iterable[Scraped], alert: Mapping[str, str], **said: str) -> None:
    """This alert alone of its name fires in the end, with these annotations and no others."""
    labels = {label: value for label, value in alert.items() if label != "alertname"}
    expected = {"alertname": alert["alertname"], "exp_alerts": [{"exp_labels": labels, "exp_annotations": said}]}
    _evaluate(rules, scraped, alert_rule_test=[expected])


def assert_shows(scraped: Iterable[Scraped], expressions: Iterable[str]) -> None:
    """Each expression of a dashboard yields a number in the end."""
    one = [{"labels": "{}", "value": 1}]
    tests = [
        {"expr": f"clamp_max(count(({plain(expression)}) > -Inf), 1)", "exp_samples": one} for expression in expressions
    ]
    _evaluate({"groups": []}, scraped, promql_expr_test=tests)


def plain(expression: str) -> str:
    """An expression of a dashboard as Grafana sends it to Prometheus."""
    for variable, value in _VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def metrics_in(expression: str) -> set[str]:
    """The metrics that an expression names."""
    return set(re.findall(r"\b(?:azpolicy|process)_\w+", expression))


def metrics_of(page: str) -> set[str]:
    """The metrics that a page has; those without a series yet, too."""
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    families = text_string_to_metric_families(page)
    return {family.name + end for family in families for end in endings.get(family.type, ("",))}


def _evaluate(rules: Mapping[str, Any], scraped: Iterable[Scraped], **tests: list[dict[str, Any]]) -> None:
    targets = list(scraped)
    end = f"{max(target.minutes for target in targets) - 1}m"
    test = {
        "interval": "1m",
        "input_series": [series for target in targets for series in target.series()],
        **{kind: [{**each, "eval_time": end} for each in group] for kind, group in tests.items()},
    }
    with tempfile.TemporaryDirectory() as folder:
        _written(Path(folder) / "rules.json", rules)
        whole = {"rule_files": ["rules.json"], "evaluation_interval": "1m", "tests": [test]}
        ended = _promtool("test", "rules", str(_written(Path(folder) / "test.json", whole)))
    assert ended.returncode == 0, ended.stdout + ended.stderr


def _promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tools.path("promtool"), *arguments], capture_output=True, text=True, check=False)


def _written(file: Path, content: Mapping[str, Any]) -> Path:
    # JSON is YAML.
    file.write_text(json.dumps(content))
    return file


def _samples(page: str, target: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    for family in text_string_to_metric_families(page):
        yield from ((_series(each.name, {**each.labels, **target}), each.value) for each in family.samples)


def _series(name: str, labels: Mapping[str, str]) -> str:
    return f"{name}{{{', '.join(f'{label}={json.dumps(value)}' for label, value in sorted(labels.items()))}}}"


def _values(values: Iterable[tuple[float | None, int]]) -> Iterator[str]:
    """What a series was, and for how many minutes, in promtool's words; it ends as soon as its page lacks it."""
    there = False
    for value, minutes in values:
        if value is not None:
            yield f"{_number(value)}x{minutes - 1}"
        else:
            yield f"stale _x{minutes - 1}" if there else f"_x{minutes}"
        there = value is not None


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else {"inf": "Inf", "-inf": "-Inf"}.get(str(value), "NaN")
