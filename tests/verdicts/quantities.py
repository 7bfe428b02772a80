"""Kubernetes quantities as exact numbers: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/."""

import re
from fractions import Fraction

QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)")
SUFFIXES = {"n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 10**3)}
SUFFIXES |= {suffix: Fraction(1000) ** power for power, suffix in enumerate("kMGTPE", 1)}
SUFFIXES |= {f"{suffix}i": Fraction(1024) ** power for power, suffix in enumerate("KMGTPE", 1)}


def value(quantity: str | float) -> Fraction:
    """The number that a quantity stands for; ValueError if it is none."""
    match = QUANTITY.fullmatch(str(quantity))
    if not match:
        raise ValueError(f"{quantity!r} is no quantity")
    number, exponent, suffix = match.groups()
    return Fraction(number) * Fraction(f"1{exponent or 'e0'}") * SUFFIXES.get(suffix or "", Fraction(1))
