"""Two replicas, one at work: the election, the fence and the kept state, against the real API server and its rights.

The replicas run in this process, each as a user of its own; the audit log says which of them wrote, and in what order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pytest

from controller.cluster.client import Connection, KubeClient
from controller.cluster.last_state import NAME, LastState
from controller.cluster.lease import Leadership, LeaseSettings
from controller.cluster.written import Kept
from controller.errors import ClusterError
from tests.cluster.harness import TestCluster, eventually
from tests.unit.cluster_builders import CLUSTER_ID, MARKS, constraint, desired_state, member, template

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator
    from concurrent.futures import Future
    from pathlib import Path


T = TypeVar("T")

NAMESPACE: Final = "replicas"
NAMESPACES: Final = "/api/v1/namespaces"
LEASE: Final = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/azure-policy-sync"
CONFIG_MAPS: Final = f"{NAMESPACES}/{NAMESPACE}/configmaps"
COUNTER: Final = f"{CONFIG_MAPS}/counter"
ROLES: Final = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}"
REPLICAS: Final = "replicas"
RULES: Final = [
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]},
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "update", "delete"]},
]


class Background:
    """An event loop in a thread: a test waits for what goes on in it as it waits for everything else."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.start(coroutine).result(60)

    def close(self) -> None:
        self.run(self._end_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end_all(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class Proxy:
    """Passes bytes on to the API server, and holds them back for a time: then requests hang and arrive late."""

    def __init__(self, cluster: TestCluster) -> None:
        self._port = int(cluster.server.rpartition(":")[2])
        self._open = asyncio.Event()
        self._open.set()

    async def listen(self) -> str:
        """Starts; the address at which it answers for the API server."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def hang(self) -> None:
        self._open.clear()

    async def go_on(self) -> None:
        self._open.set()

    async def close(self) -> None:
        self._open.set()
        self._server.close()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(self._pass(client, to_server), self._pass(server, to_client))

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                await self._open.wait()
                sink.write(data)
                await sink.drain()
        sink.close()


class Replica:
    """An elector, and work that counts in a ConfigMap for as long as it runs."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.user = f"replica-{name}"
        self._stage = stage
        self._name = name
        self._connection = stage.connection(self.user)
        self._started: Future[None] | None = None
        self.leadership: Leadership | None = None

    @contextlib.asynccontextmanager
    async def fenced(self) -> AsyncIterator[tuple[Leadership, KubeClient]]:
        """The elector, and the client that writes only while it leads."""
        async with KubeClient(self._connection) as unfenced:
            leadership = Leadership(unfenced, LeaseSettings(namespace=NAMESPACE, identity=self._name))
            async with KubeClient(self._connection, fence=leadership.remaining) as client:
                yield leadership, client

    def start(self) -> None:
        self._started = self._stage.background.start(self._run())

    def stop(self) -> None:
        """As SIGTERM does: returns when it has ended."""
        if self._started is not None:
            self._started.cancel()
            eventually(lambda: self._stage.trace.count(f"{self._name} left") == 1, what=f"{self._name} to end")

    @property
    def leads(self) -> bool:
        return self.leadership is not None and self.leadership.is_leading

    async def _run(self) -> None:
        try:
            async with self.fenced() as (self.leadership, self._client):
                await self.leadership.lead(self._work)
        finally:
            self._stage.trace.append(f"{self._name} left")

    async def _work(self) -> None:
        self._stage.trace.append(f"{self._name} begins")
        try:
            while True:
                with contextlib.suppress(ClusterError):
                    await self._count()
                await asyncio.sleep(0.05)
        finally:
            self._stage.trace.append(f"{self._name} ends")

    async def _count(self) -> None:
        seen = await self._client.get(COUNTER)
        assert seen is not None
        counted = {**seen, "data": {"count": str(int(seen["data"]["count"]) + 1)}}
        await self._client.request("PUT", COUNTER, body=counted)


class Stage:
    """A namespace of the cluster with the rights of replicas, and what they did."""

    def __init__(self, cluster: TestCluster, background: Background, folder: Path) -> None:
        self.cluster = cluster
        self.background = background
        self.folder = folder
        self.trace: list[str] = []
        self.replicas: list[Replica] = []
        self.proxies: dict[str, Proxy] = {}
        self.mark = cluster.audit_mark()

    def connection(self, user: str) -> Connection:
        """How a user reaches the cluster: through its proxy, where it has one."""
        kubeconfig = self.cluster.kubeconfig_for(user, [REPLICAS])
        if user not in self.proxies:
            return Connection(kubeconfig)
        document = json.loads(kubeconfig.read_text())
        document["clusters"][0]["cluster"]["server"] = self.background.run(self.proxies[user].listen())
        own = self.folder / f"{user}.kubeconfig"
        own.write_text(json.dumps(document))
        return Connection(own)

    def replica(self, name: str, *, proxied: bool = False) -> Replica:
        if proxied:
            self.proxies[f"replica-{name}"] = Proxy(self.cluster)
        self.replicas.append(Replica(self, name))
        return self.replicas[-1]

    def writers(self) -> list[str]:
        """Who counted, each time, as the audit log has it."""
        self.cluster.audit_mark()
        return [
            event.user
            for event in self.cluster.audit_events(self.mark)
            if event.is_write and event.code == 200 and event.name == "counter"
        ]

    def lease(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.cluster.get(LEASE)["spec"]
        return spec

    def close(self) -> None:
        for proxy in self.proxies.values():
            self.background.run(proxy.close())
        for replica in self.replicas:
            replica.stop()


@pytest.fixture
def background() -> Iterator[Background]:
    """Where the replicas run."""
    running = Background()
    yield running
    running.close()


@pytest.fixture
def stage(cluster: TestCluster, background: Background, tmp_path: Path) -> Iterator[Stage]:
    """The namespace; what is in it is taken away at the end."""
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": REPLICAS}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": REPLICAS}
    metadata = {"metadata": {"name": REPLICAS}}
    for collection, manifest in (
        (NAMESPACES, metadata),
        (f"{ROLES}/roles", {**metadata, "rules": RULES}),
        (f"{ROLES}/rolebindings", {**metadata, "roleRef": role, "subjects": [subject]}),
        (CONFIG_MAPS, {"metadata": {"name": "counter"}, "data": {"count": "0"}}),
    ):
        status, answer = cluster.request("POST", collection, manifest)
        assert status in {201, 409}, answer
    reader = cluster.kubeconfig_for("replica-early", [REPLICAS])
    eventually(lambda: cluster.request("GET", COUNTER, user=reader)[0] == 200, what="the rights to be known")
    staged = Stage(cluster, background, tmp_path)
    yield staged
    staged.close()
    for path in (LEASE, CONFIG_MAPS):
        cluster.request("DELETE", path)


# --- the election ----------------------------------------------------------------------------------------------------


def test_of_two_replicas_one_works_and_the_other_writes_nothing(stage: Stage) -> None:
    one, two = stage.replica("one"), stage.replica("two")
    one.start()
    eventually(lambda: one.leads, what="one to lead")
    two.start()
    eventually(lambda: two.leadership and two.leadership.holder == "one", what="two to stand by")
    before = stage.lease()["renewTime"]

    eventually(lambda: stage.lease()["renewTime"] != before, what="a renewal")

    assert stage.trace == ["one begins"]
    assert stage.cluster.writes(two.user, stage.mark) == []
    leases = [event for event in stage.cluster.writes(one.user, stage.mark) if event.resource == "leases"]
    assert {(event.verb, event.code) for event in leases} == {("create", 201), ("update", 200)}
    assert [event.verb for event in leases].count("create") == 1


def test_a_replica_that_is_told_to_stop_hands_over_at_once(stage: Stage) -> None:
    one, two = stage.replica("one"), stage.replica("two")
    one.start()
    eventually(lambda: one.leads, what="one to lead")
    two.start()
    eventually(lambda: two.leadership and two.leadership.holder == "one", what="two to stand by")

    one.stop()
    released = stage.lease()
    eventually(lambda: two.leads, timeout=8, what="two to lead before the lease would have expired")

    assert released["holderIdentity"] == "" or released["leaseTransitions"] == 1
    assert stage.trace == ["one begins", "one ends", "one left", "two begins"]
    assert stage.lease()["leaseTransitions"] == 1


def test_a_leader_whose_calls_hang_is_replaced_and_writes_nothing_after_its_successor(stage: Stage) -> None:
    """What hung arrives in the end, when the successor has long been at work."""
    one, two = stage.replica("one", proxied=True), stage.replica("two")
    one.start()
    eventually(lambda: one.leads and one.user in stage.writers(), what="one to work")
    two.start()
    eventually(lambda: two.leadership and two.leadership.holder == "one", what="two to stand by")

    stage.background.run(stage.proxies[one.user].hang())
    eventually(lambda: two.user in stage.writers(), what="two to work")
    stage.background.run(stage.proxies[one.user].go_on())
    eventually(lambda: one.leadership and one.leadership.holder == "two", what="one to stand by")
    counted = len(stage.writers())
    eventually(lambda: len(stage.writers()) > counted + 5, what="two to work on")

    assert stage.trace == ["one begins", "one ends", "two begins"]
    writers = stage.writers()
    assert writers == sorted(writers)
    two.stop()
    assert stage.cluster.get(COUNTER)["data"]["count"] == str(len(stage.writers()))


def test_after_an_outage_of_the_api_server_one_replica_works(stage: Stage) -> None:
    one, two = stage.replica("one"), stage.replica("two")
    for replica in (one, two):
        replica.start()
    eventually(lambda: one.leads or two.leads, what="a leader")

    stage.cluster.stop_apiserver()
    eventually(lambda: not one.leads and not two.leads, what="nobody to lead")
    stage.cluster.start_apiserver()
    eventually(lambda: one.leads or two.leads, timeout=60, what="a leader again")

    assert one.leads != two.leads
    begun = [line.endswith("begins") for line in stage.trace]
    assert begun == [True, False, True]


# --- the fence -------------------------------------------------------------------------------------------------------


def test_a_replica_that_does_not_lead_cannot_write(stage: Stage) -> None:
    standby = stage.replica("standby")

    async def attempt() -> str:
        async with standby.fenced() as (_, client):
            assert await client.get(COUNTER) is not None
            manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "fenced"}}
            assert (await client.request("POST", CONFIG_MAPS, query={"dryRun": "All"}, body=manifest)).ok
            with pytest.raises(ClusterError) as refused:
                await client.request("POST", CONFIG_MAPS, body=manifest)
            return refused.value.reason

    assert stage.background.run(attempt()) == "NotLeading"
    assert [event.dry_run for event in stage.cluster.writes(standby.user, stage.mark)] == [True]


# --- the kept state --------------------------------------------------------------------------------------------------


def state_of(constraints: int, *, noise: int = 0) -> Kept:
    """A state; with noise, which does not compress, as large as one wants."""
    rng = random.Random(constraints)
    return Kept(
        desired_state(
            template(),
            *(constraint(by=member(f"a{n}"), noise=rng.randbytes(noise // 2).hex()) for n in range(constraints)),
        )
    )


def test_a_state_is_kept_whatever_its_size_and_the_next_replica_reads_it(stage: Stage) -> None:
    large, small = state_of(10, noise=320_000), state_of(3)
    user = "replica-keeper"

    async def keep(state: Kept) -> Kept | None:
        async with KubeClient(stage.connection(user)) as client:
            kept = LastState(client, NAMESPACE, MARKS)
            await kept.load(CLUSTER_ID)
            await kept.save(state)
            await kept.save(state)
            return await LastState(client, NAMESPACE, MARKS).load(CLUSTER_ID)

    def names() -> list[str]:
        listed = stage.cluster.get(f"{CONFIG_MAPS}?labelSelector=managed-by=azure-policy-sync")["items"]
        return [config_map["metadata"]["name"] for config_map in listed]

    assert stage.background.run(keep(large)) == large
    assert names() == [NAME, f"{NAME}-a1", f"{NAME}-a2"]
    assert stage.background.run(keep(small)) == small
    assert names() == [NAME]
    assert [(event.verb, event.name, event.code) for event in stage.cluster.writes(user, stage.mark)] == [
        ("create", f"{NAME}-a1", 201),
        ("create", f"{NAME}-a2", 201),
        ("create", NAME, 201),
        ("update", NAME, 200),
        ("delete", f"{NAME}-a1", 200),
        ("delete", f"{NAME}-a2", 200),
    ]
