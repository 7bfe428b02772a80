"""What is remembered between plans goes with the objects that it is about."""

from __future__ import annotations

from controller.cluster.dry_run import DryRunCache, Rejection
from tests.unit.cluster_builders import constraint, live, template


def test_what_is_remembered_of_objects_that_are_gone_is_forgotten() -> None:
    cache = DryRunCache()
    gone, stays = live(template("K8sGone")), live(template("K8sStays"))
    equal, wanted = live(constraint()), constraint()
    for each in (gone, stays):
        uid = str(each.metadata["uid"])
        cache.entries[uid] = Rejection("live", "desired")
    cache.remember_equal(equal, wanted, ())

    cache.retain({stays.uid}, ())

    assert set(cache.entries) == {stays.uid}
    assert cache.verbatim == set()
