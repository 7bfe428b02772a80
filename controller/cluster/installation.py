"""Which azpolicy a cluster belongs to: two in one cluster would delete each other's objects.

The cluster record (`cluster_record.py`) and the Lease (`lease.py`) name one installation, and both are compared here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from controller.gatekeeper.naming import OwnershipMarks


@dataclass(frozen=True, slots=True)
class Installation:
    """One azpolicy: its marks, and NAMESPACE/RELEASE of its operator, empty for a person's command."""

    marks: OwnershipMarks = field(default_factory=OwnershipMarks)
    place: str = ""

    def is_other(self, managed_by: str, place: str) -> bool:
        """Whether these name another installation; both are empty where an older version wrote them.

        | managed-by       | place                          | whose     |
        |------------------|--------------------------------|-----------|
        | none             | any                            | ours      |
        | ours             | ours, or one of both not known | ours      |
        | ours             | another                        | another's |
        | one that we adopt| any                            | ours      |
        | any other        | any                            | another's |
        """
        if managed_by == self.marks.managed_by:
            return bool(place and self.place and place != self.place)
        return bool(managed_by) and not self.marks.known(managed_by)

    def why_refused(self, managed_by: str, place: str) -> str:
        """What the other installation is, and what to do about it."""
        where = f" in {place}" if place else ""
        if managed_by == self.marks.managed_by:
            return f"the installation{where}, and this one is {self.place}: only one may write; uninstall one of them"
        return (
            f"the installation with --managed-by {managed_by}{where}, and this one has --managed-by"
            f" {self.marks.managed_by}: use the same value for the same installation; or uninstall the other first"
            f" (azpolicy uninstall --managed-by {managed_by}); or stop the other and take its objects over with"
            f" --adopt {managed_by}"
        )
