"""Which version of a definition or initiative an assignment or initiative means.

`5.*.*` and `1.2.*` take the highest that matches, previews only where nothing else does or `-preview` is asked for
(https://learn.microsoft.com/azure/governance/policy/concepts/assignment-structure). Where no version is asked for, it
is the highest that is no preview.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from controller.azure.model import Initiative, PolicyDefinition, Version, VersionKind, VersionPattern
from controller.policy.model import UnresolvedReason
from controller.policy.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T", PolicyDefinition, Initiative)

# What Azure says of a custom definition that was never given a version.
_FIRST = Version(1, 0, 0)
_RANK = {VersionKind.PREVIEW: 0, VersionKind.DEPRECATED: 1, VersionKind.RELEASE: 2}


def choose_version(candidates: Sequence[T], asked: str, effective: str = "") -> T:
    """The version that Azure says is effective, else the highest that fits what is asked; a Problem if none does.

    Previews count only where nothing else fits, or together with the rest where `-preview` is asked. No version asked
    means the highest that is no preview. Deprecated ones count as any other.
    """
    exact = Version.parse(effective or asked)
    if exact is not None:
        fitting = [each for each in candidates if _number(each) == (exact.major, exact.minor, exact.patch)]
        same = [each for each in fitting if _version(each).kind is exact.kind]
        return _highest(same or fitting, candidates, effective or asked)
    if not asked:
        return _highest(_without_previews(candidates), candidates, asked)
    pattern = VersionPattern.parse(asked)
    if pattern is None:
        raise Problem(
            UnresolvedReason.VERSION_MISSING,
            f"definitionVersion {asked!r} is not a version: it must be like 1.*.* or 1.2.*",
        )
    fitting = [each for each in candidates if pattern.matches(_version(each))]
    return _highest(fitting if pattern.preview else _without_previews(fitting), candidates, asked)


def _version(candidate: PolicyDefinition | Initiative) -> Version:
    return candidate.version or _FIRST


def _number(candidate: PolicyDefinition | Initiative) -> tuple[int, int, int]:
    version = _version(candidate)
    return version.major, version.minor, version.patch


def _without_previews(candidates: Sequence[T]) -> Sequence[T]:
    return [each for each in candidates if _version(each).kind is not VersionKind.PREVIEW] or candidates


def _highest(fitting: Sequence[T], candidates: Sequence[T], asked: str) -> T:
    if not fitting:
        there = ", ".join(sorted(str(_version(each)) for each in candidates))
        raise Problem(
            UnresolvedReason.VERSION_MISSING,
            f"version {asked} of {candidates[0].id} is missing, there is only {there}: add it to the snapshot",
        )
    return max(fitting, key=lambda each: (_number(each), _RANK[_version(each).kind]))
