"""What the environment says of the way to an API server counts, and is looked up once and not for each request."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from controller.cluster.client import Connection, KubeClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SERVER = "http://api.cluster.test:6443"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def connection(folder: Path, server: str = SERVER, **cluster: str) -> Connection:
    """By a kubeconfig, which is YAML, and so may be JSON."""
    config = {
        "current-context": "one",
        "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one"}}],
        "clusters": [{"name": "one", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "one", "user": {}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return Connection(path)


@contextlib.asynccontextmanager
async def serving(asked: list[web.BaseRequest]) -> AsyncIterator[str]:
    """A server that takes down what it is asked, as a proxy too; its URL."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request)
        return web.json_response({"kind": "Thing"})

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("environment", "cluster", "proxy"),
    [
        pytest.param({}, {}, None, id="none"),
        pytest.param({"HTTP_PROXY": "http://proxy:1"}, {}, "http://proxy:1", id="of the environment"),
        pytest.param({"HTTPS_PROXY": "http://proxy:1"}, {}, None, id="of another scheme"),
        pytest.param({"HTTP_PROXY": "http://proxy:1", "NO_PROXY": ".cluster.test"}, {}, None, id="not for this server"),
        pytest.param(
            {"HTTP_PROXY": "http://proxy:1"}, {"proxy-url": "http://other:2"}, "http://other:2", id="of the kubeconfig"
        ),
    ],
)
async def test_which_proxy_is_used(
    environment: dict[str, str],
    cluster: dict[str, str],
    proxy: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert (await connection(tmp_path, **cluster).configuration()).proxy == proxy


async def test_requests_go_through_the_proxy_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[web.BaseRequest] = []
    async with serving(asked) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        async with KubeClient(connection(tmp_path)) as client:
            await client.get("/version")

    assert [str(request.url) for request in asked] == [f"{SERVER}/version"]


async def test_a_request_waits_for_no_thread_and_carries_no_password_of_netrc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    asked: list[web.BaseRequest] = []
    threads: list[Any] = []
    async with serving(asked) as server:
        monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor.submit", lambda *task: threads.append(task))
        async with KubeClient(connection(tmp_path, server)) as client:
            await client.get("/version")

    assert ["Authorization" in request.headers for request in asked] == [False]
    assert threads == []
