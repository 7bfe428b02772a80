"""image-integrity-notation-verification in Gatekeeper itself: gator knows no external data, so its suite cannot run.

A stand-in for Ratify answers as Gatekeeper's external data protocol asks; the suite's cases are judged against it.
"""

import base64
import json
import re
import ssl
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.certs import Authority
from tests.cluster.azpolicy import CONSTRAINTS, TEMPLATES, enforced, refusal
from tests.cluster.harness import TestCluster, eventually

FOLDER = Path(__file__).parents[2] / "templates" / "image-integrity-notation-verification" / "v1"
PROVIDERS = "/apis/externaldata.gatekeeper.sh/v1beta1/providers"
REPOSITORY = "registry.example/"


def load(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return document


class Ratify:
    """Judges an image by its name: signed, unsigned or, whatever else it is called, unknown."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[list[str]] = []
        authority = Authority()
        pair = authority.server("127.0.0.1")
        self.ca_bundle = base64.b64encode(authority.pem).decode()
        (folder / "ratify.pem").write_bytes(pair.certificate + pair.key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / "ratify.pem")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def verdict(self, image: str) -> dict[str, Any]:
        name = image.removeprefix(REPOSITORY)
        if not name.startswith(("signed", "unsigned")):
            return {"key": image, "error": "no such image"}
        return {"key": image, "value": {"isSuccess": name.startswith("signed"), "verifierReports": []}}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        ratify = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                keys = request["request"]["keys"]
                ratify.asked.append(keys)
                answer = {
                    "apiVersion": "externaldata.gatekeeper.sh/v1beta1",
                    "kind": "ProviderResponse",
                    "response": {"idempotent": True, "items": [ratify.verdict(key) for key in keys], "systemError": ""},
                }
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *_arguments: object) -> None:
                """Nothing: the test says what was asked."""

        return Handler


def create(cluster: TestCluster, collection: str, manifest: dict[str, Any]) -> bool:
    return cluster.request("POST", collection, manifest)[0] in {201, 409}


@pytest.fixture(scope="module")
def judged(tidy_module: TestCluster) -> TestCluster:
    """The cluster with the template and its constraint in force."""
    template, constraint = load("template.yaml"), load("samples/constraint.yaml")
    constraint["spec"]["match"] = {"kinds": [{"apiGroups": [""], "kinds": ["Pod"]}], "namespaces": ["default"]}
    collection = f"{CONSTRAINTS}/{template['metadata']['name']}"
    assert create(tidy_module, TEMPLATES, template)
    eventually(lambda: create(tidy_module, collection, constraint), what="the constraint kind to be served")
    eventually(lambda: enforced(tidy_module, f"{collection}/{constraint['metadata']['name']}"), what="enforcement")
    return tidy_module


@pytest.fixture
def ratify(judged: TestCluster, tmp_path: Path) -> Iterator[Ratify]:
    standing_in = Ratify(tmp_path)
    provider = {
        "apiVersion": "externaldata.gatekeeper.sh/v1beta1",
        "kind": "Provider",
        "metadata": {"name": "ratify-provider"},
        "spec": {"url": standing_in.url, "caBundle": standing_in.ca_bundle, "timeout": 2},
    }
    assert create(judged, PROVIDERS, provider)
    yield standing_in
    judged.request("DELETE", f"{PROVIDERS}/ratify-provider")
    standing_in.stop()


def pod(*images: str) -> dict[str, Any]:
    containers = [{"name": f"container-{number}", "image": image} for number, image in enumerate(images)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried"}, "spec": {"containers": containers}}


def violations(cluster: TestCluster, manifest: dict[str, Any]) -> Sequence[str]:
    """The messages of a refusal, without the constraint's name before each."""
    lines = refusal(cluster, manifest).splitlines()
    return sorted(message for line in lines for message in re.findall(r"\[signed\] (.*)$", line))


def test_without_a_provider_no_image_can_be_verified(judged: TestCluster) -> None:
    [message] = violations(judged, pod(f"{REPOSITORY}signed:2"))

    assert message.startswith('Images ["registry.example/signed:2"] cannot be verified by provider ratify-provider: ')


def test_the_suites_cases_hold_and_no_excluded_image_is_asked_about(judged: TestCluster, ratify: Ratify) -> None:
    eventually(lambda: not violations(judged, pod(f"{REPOSITORY}signed:3")), what="the provider to be known")

    for case in load("suite.yaml")["tests"][0]["cases"]:
        total, *others = case["assertions"]
        messages = violations(judged, load(case["object"]))
        assert len(messages) == (0 if total["violations"] is False else total["violations"]), messages
        for other in others:
            matching = [message for message in messages if re.search(other["message"], message)]
            assert len(matching) == other["violations"], messages

    assert not [key for keys in ratify.asked for key in keys if "istio" in key]


def test_all_images_of_a_pod_are_one_question(judged: TestCluster, ratify: Ratify) -> None:
    images = [f"{REPOSITORY}signed:4", f"{REPOSITORY}signed:5"]
    eventually(lambda: not violations(judged, pod(*images)), what="the provider to be known")

    assert images in ratify.asked
