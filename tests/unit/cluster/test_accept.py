"""What the client asks an API server to answer with, as it goes over the wire."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.test_utils import TestServer

from controller.cluster.client import Connection, KubeClient
from controller.cluster.kinds import CLUSTER_REPORT, CRD, REPORT

if TYPE_CHECKING:
    from pathlib import Path


async def test_lists_of_what_may_be_huge_are_asked_for_by_metadata_and_nothing_else_is(tmp_path: Path) -> None:
    asked: dict[str, str] = {}

    async def answer(request: web.Request) -> web.Response:
        asked[f"{request.method} {request.path}"] = request.headers["Accept"]
        return web.json_response({"kind": "List", "items": [], "metadata": {"name": "x", "resourceVersion": "1"}})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        cluster = {"name": "c", "cluster": {"server": str(server.make_url("")).rstrip("/")}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        kubeconfig = tmp_path / "config"
        users = [{"name": "u", "user": {}}]
        config = {"current-context": "c", "clusters": [cluster], "contexts": [context], "users": users}
        kubeconfig.write_text(json.dumps(config))
        async with KubeClient(Connection(kubeconfig)) as client:
            for kind in (CRD, REPORT, CLUSTER_REPORT):
                assert not [each async for each in client.items(kind.path())]
            await client.get(CLUSTER_REPORT.path("x"))
            await client.create(CLUSTER_REPORT, {"metadata": {"name": "x"}})
            await client.replace(CLUSTER_REPORT, {"metadata": {"name": "x"}})

    by_metadata = {what for what, accept in asked.items() if "PartialObjectMetadata" in accept}
    assert by_metadata == {f"GET {kind.path()}" for kind in (CRD, REPORT, CLUSTER_REPORT)}
    assert len(asked) == 6
