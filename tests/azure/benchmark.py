"""Something of the size of the cloud security benchmark: 223 members, of which 16 are for clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.azure.world import initiative_id, make_assignment, make_cluster, make_definition, make_initiative

if TYPE_CHECKING:
    from tests.azure.documents import Document

MEMBERS: Final = 223
FOR_CLUSTERS: Final = 16
OLDER: Final = 4
CATEGORY: Final = 121
INITIATIVE: Final = initiative_id("security-benchmark")


def benchmark(members: int = MEMBERS) -> list[Document]:
    """The documents of a cluster that such an initiative is assigned to.

    As in Azure: 121 built-ins are of category Kubernetes, 75 of them for clusters; of the members that are, four are of
    an older version than the newest; all others are of other categories and another mode.
    """
    kubernetes = [
        make_definition(f"kubernetes-{number}", version)
        for number in range(75)
        for version in (("1.2.0", "2.0.0") if number < OLDER else ("1.2.0",))
    ]
    kubernetes += [make_definition(f"indexed-{number}", mode="Indexed") for number in range(CATEGORY - 75)]
    ours = min(members, FOR_CLUSTERS)
    elsewhere = [
        make_definition(f"elsewhere-{number}", mode="Indexed", metadata={"category": "Storage"})
        for number in range(members - ours)
    ]
    ids = [f"/providers/Microsoft.Authorization/policyDefinitions/kubernetes-{number}" for number in range(ours)]
    initiative = make_initiative(
        "security-benchmark", dict.fromkeys([*ids, *(each["id"] for each in elsewhere)], "1.*.*")
    )
    return [make_cluster(), *kubernetes, *elsewhere, initiative, make_assignment("benchmark", INITIATIVE)]
