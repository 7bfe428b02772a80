"""What every template decides, stated in Python apart from its Rego, so that a slip in one is seen in the other."""

from tests.verdicts import object_rules, pod_rules
from tests.verdicts.cases import Case

RULES = {**pod_rules.RULES, **object_rules.RULES}


def denied(case: Case) -> bool:
    """Whether the case breaks its template's rules."""
    return RULES[case.template](case)
