"""What our bundle says of cases: opa judges them, with the input that Gatekeeper would make of each.

gator would compile a template anew for each case. That opa decides as gator does is shown elsewhere: every suite of the
bundle holds in both (tests/templates/test_templates.py, tests/templates/mutants.py).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.templates import opa
from tests.templates.suites import BUNDLE, load
from tests.verdicts.cases import Case

PROCESSES = 2


class JudgeError(Exception):
    """A case could not be judged; the message names its template and says why."""


def denied(cases: Sequence[Case]) -> list[bool]:
    """Whether our template reports a violation, for each case; JudgeError where one cannot be judged."""
    by_template = defaultdict[str, list[int]](list)
    for number, case in enumerate(cases):
        by_template[case.template].append(number)

    def judged(template: str) -> Iterator[tuple[int, bool]]:
        numbers = by_template[template]
        return zip(numbers, _judged(template, [cases[number] for number in numbers]), strict=True)

    with ThreadPoolExecutor(PROCESSES) as pool:
        found = {number: verdict for answers in pool.map(judged, by_template) for number, verdict in answers}
    return [found[number] for number in range(len(cases))]


def _judged(template: str, cases: Sequence[Case]) -> list[bool]:
    document = load(BUNDLE / template / "template.yaml")
    if any(case.is_request and not case.request for case in cases):
        raise JudgeError(f"{template}: an AdmissionReview has no request")
    inputs = [opa.review_input(case.manifest, case.parameters) for case in cases]
    try:
        return [bool(found) for found in opa.violations(document, inputs, [case.inventory for case in cases])]
    except RuntimeError as error:
        raise JudgeError(f"{template}: {error}") from None
