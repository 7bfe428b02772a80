"""A rival that changes an object back every second: repairs become rare, it is told once, and ends with the rival."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.cluster.fights import FREE_REPAIRS
from tests.cluster.azpolicy import managed
from tests.cluster.harness import TestCluster, eventually

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from tests.cluster.deployed import Deployed

PERIOD: Final = 1.0
MINUTE: Final = 60.0
# Five at once, then 1, 2, 4, 8 and 15 seconds apart.
MOST_A_MINUTE: Final = 5 + 4 + 3


class Rival:
    """Another controller that wants something else of an object, and looks every second."""

    def __init__(self, cluster: TestCluster, path: str) -> None:
        self._cluster, self._path = cluster, path
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rounds = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        wanted: dict[str, Any] = {"spec": {"enforcementAction": "dryrun"}}
        while not self._end.wait(PERIOD):
            self._cluster.request("PATCH", f"{self._path}?fieldManager=rival", wanted)
            self.rounds += 1


@pytest.mark.timeout(400)
def test_a_fight_is_bounded_told_within_a_minute_and_over_when_the_rival_stops(deployed: Deployed) -> None:
    with deployed.replica() as operator:
        before = deployed.wait_in_sync()
        path = deployed.weaken("rival")
        name = path.rpartition("/")[2]
        mark = deployed.cluster.audit_mark()

        with Rival(deployed.cluster, path) as rival:
            deployed.wait_for("Contended", "True", "Fight", timeout=MINUTE)
            eventually(lambda: rival.rounds >= MINUTE, timeout=2 * MINUTE, what="a minute of it")
            repairs = [e for e in deployed.writes(mark) if e.name == name and e.code < 300]
            assert 0 < len(repairs) <= MOST_A_MINUTE
            assert operator.metric("azpolicy_fights") == 1
            [told] = deployed.events(name, "Fight")
            assert told["type"] == "Warning"
            assert deployed.condition("Ready") == ("False", "Contended")
            [condition] = [c for c in deployed.sync()["status"]["conditions"] if c["type"] == "Contended"]
            assert name in condition["message"]
            # Everything else goes on as ever.
            other = min(each for each in managed(deployed.cluster) if "azurepolicy-" in each and each != path)
            deployed.cluster.request("DELETE", other)
            eventually(lambda: deployed.cluster.request("GET", other)[0] == 200, what="another object's repair")

        deployed.back(before)
        deployed.wait_for("Contended", "False", timeout=2 * MINUTE)
        assert operator.metric("azpolicy_fights") == 0
        deployed.weaken("rival")
        deployed.back(before, timeout=5)


def test_a_deletion_that_a_fight_holds_back_is_done_soon_and_not_told_as_done_before(deployed: Deployed) -> None:
    deployed.release.upgrade(deployed.values(resync=300))
    with deployed.replica():
        before = deployed.wait_in_sync()
        for _ in range(FREE_REPAIRS + 4):  # from here on a repair waits for 15 seconds
            path = deployed.weaken()
            deployed.back(before)
        assignment = deployed.cluster.get(path)["metadata"]["annotations"]["azure-policy-assignment-id"]

        deployed.unassign(assignment.rpartition("/")[2])
        deployed.ask_sync()

        assert deployed.condition("Ready") == ("False", "Contended")
        assert deployed.cluster.request("GET", path)[0] == 200
        eventually(lambda: deployed.cluster.request("GET", path)[0] == 404, timeout=60, what="the deletion")
