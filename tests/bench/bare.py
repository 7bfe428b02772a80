"""A bare client that creates objects: the API server's own time for them, as no client can be faster.

It knows the bodies beforehand, asks nothing and looks at nothing but the status. Only the requests are timed, not the
start of the process. As in azpolicy there is one connection for each request in flight.

python -m tests.bench.bare KUBECONFIG BODIES    BODIES is a JSON list of [path, object]; prints the seconds
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

IN_FLIGHT: Final = 32
_CREATED: Final = 201


def seconds_of_creating(kubeconfig: Path, bodies: Path) -> float:
    """Runs this in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.bare", str(kubeconfig), str(bodies)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


async def create(server: str, context: ssl.SSLContext, bodies: Sequence[tuple[str, bytes]]) -> float:
    """Seconds from the first request to the last answer."""
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT, ssl=context)
    async with aiohttp.ClientSession(connector=connector, headers={"Content-Type": "application/json"}) as session:

        async def post(path: str, body: bytes) -> None:
            async with session.post(f"{server}{path}", data=body) as response:
                answer = await response.read()
                if response.status != _CREATED:
                    raise SystemExit(f"POST {path}: {response.status} {answer[:200]!r}")

        start = time.perf_counter()
        await asyncio.gather(*(post(path, body) for path, body in bodies))
        return time.perf_counter() - start


def tls(kubeconfig: Path) -> tuple[str, ssl.SSLContext]:
    """The server, and how the test cluster's kubeconfig, which has certificates in it, says to connect to it."""
    config: Any = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cadata=_pem(cluster, "certificate-authority").decode())
    with tempfile.NamedTemporaryFile(suffix=".pem") as both:
        both.write(_pem(user, "client-certificate") + _pem(user, "client-key"))
        both.flush()
        context.load_cert_chain(both.name)
    return cluster["server"], context


def _pem(entry: dict[str, str], name: str) -> bytes:
    return base64.b64decode(entry[f"{name}-data"])


def main() -> None:
    """Prints the seconds."""
    kubeconfig, bodies = map(Path, sys.argv[1:])
    encoded = [(path, json.dumps(body).encode()) for path, body in json.loads(bodies.read_text())]
    print(asyncio.run(create(*tls(kubeconfig), encoded)))


if __name__ == "__main__":
    main()
