"""image-integrity-notation-verification in Gatekeeper itself: gator knows no external data, so its suite cannot run.

A stand-in for Ratify answers as Gatekeeper's external data protocol asks; the suite's cases are judged against it. They
are put to Gatekeeper's webhook, as the API server would: it takes no running pod and no debug container in a new one.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.certs import Authority
from tests.cluster.azpolicy import CONSTRAINTS, TEMPLATES, enforced
from tests.cluster.harness import TestCluster, eventually
from tests.templates import opa
from tests.templates.suites import BUNDLE, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

FOLDER = BUNDLE / "image-integrity-notation-verification" / "v1"
PROVIDERS = "/apis/externaldata.gatekeeper.sh/v1beta1/providers"
PODS_HERE = {"kinds": [{"apiGroups": [""], "kinds": ["Pod"]}], "namespaces": ["default"]}
CASES = [(test, case) for test in load(FOLDER / "suite.yaml")["tests"] for case in test["cases"]]
DEVIATIONS = yaml.safe_load((BUNDLE / "deviations.yaml").read_text(encoding="utf-8"))["deviations"]
WITHOUT_REPORT = next(each for each in DEVIATIONS if each["id"] == "D16")["changes"]


class Ratify:
    """Answers over HTTPS what the stand-in of the suites answers (tests/templates/provider.rego)."""

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

    def answer(self, keys: list[str]) -> dict[str, Any]:
        """The response to a question, in the form of the protocol."""
        self.asked.append(keys)
        request = json.dumps({"provider": "ratify-provider", "keys": keys})
        flags = ["--v0-compatible", "--format=json", "--data", str(opa.PROVIDER)]
        told = json.loads(opa.run(["eval", *flags, f"data.standin.answer({request})"]))
        answer = told["result"][0]["expressions"][0]["value"]
        verdicts = [{"key": key, "value": verdict} for key, verdict in answer["responses"]]
        errors = [{"key": key, "error": error} for key, error in answer["errors"]]
        return {"idempotent": True, "items": [*verdicts, *errors], "systemError": answer["system_error"]}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        ratify = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = {
                    "apiVersion": "externaldata.gatekeeper.sh/v1beta1",
                    "kind": "ProviderResponse",
                    "response": ratify.answer(request["request"]["keys"]),
                }
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *_arguments: object) -> None:
                """Nothing: the test says what was asked."""

        return Handler


def create(cluster: TestCluster, collection: str, manifest: Mapping[str, Any]) -> bool:
    return cluster.request("POST", collection, manifest)[0] in {201, 409}


@pytest.fixture(scope="module")
def judging(tidy_module: TestCluster) -> TestCluster:
    """The cluster with the template."""
    assert create(tidy_module, TEMPLATES, load(FOLDER / "template.yaml"))
    return tidy_module


@contextlib.contextmanager
def constrained(cluster: TestCluster, name: str = "samples/constraint.yaml") -> Iterator[str]:
    """A constraint of the suite in force; its name."""
    constraint = load(FOLDER / name)
    constraint["spec"]["match"] = PODS_HERE
    collection = f"{CONSTRAINTS}/{constraint['kind'].lower()}"
    path = f"{collection}/{constraint['metadata']['name']}"
    eventually(lambda: create(cluster, collection, constraint), what="the constraint kind to be served")
    eventually(lambda: enforced(cluster, path), what="enforcement")
    yield constraint["metadata"]["name"]
    cluster.request("DELETE", path)


@pytest.fixture
def ratify(judging: TestCluster, tmp_path: Path) -> Iterator[Ratify]:
    standing_in = Ratify(tmp_path)
    provider = {
        "apiVersion": "externaldata.gatekeeper.sh/v1beta1",
        "kind": "Provider",
        "metadata": {"name": "ratify-provider"},
        "spec": {"url": standing_in.url, "caBundle": standing_in.ca_bundle, "timeout": 2},
    }
    assert create(judging, PROVIDERS, provider)
    with constrained(judging):
        # An image of its own: what a provider said is remembered for minutes.
        fresh = pod(f"registry.example/signed/{tmp_path.name.lower()}:1")
        eventually(lambda: not violations(judging, fresh), what="the provider to be known")
    standing_in.asked.clear()
    yield standing_in
    judging.request("DELETE", f"{PROVIDERS}/ratify-provider")
    standing_in.stop()


def pod(*images: str) -> dict[str, Any]:
    containers = [{"name": f"container-{number}", "image": image} for number, image in enumerate(images)]
    metadata = {"name": "tried", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}}


def violations(cluster: TestCluster, manifest: Mapping[str, Any], constraint: str = "signed") -> Sequence[str]:
    """The constraint's messages, as Gatekeeper's webhook tells the API server; the object may be a review already."""
    review = manifest if manifest["kind"] == "AdmissionReview" else created(manifest)
    # The certificate is the harness's own, made for this run; who signed it is not what is tested.
    context = ssl._create_unverified_context()
    webhook = http.client.HTTPSConnection("127.0.0.1", cluster._webhook_port, context=context, timeout=30)
    with contextlib.closing(webhook):
        webhook.request("POST", "/v1/admit", json.dumps(review), {"Content-Type": "application/json"})
        response = json.loads(webhook.getresponse().read())["response"]
    lines = [] if response["allowed"] else response["status"]["message"].splitlines()
    return sorted(message for line in lines for message in re.findall(rf"^\[{constraint}\] (.*)$", line))


def created(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The review of an object that is made."""
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "5f3c4f0e-0000-4000-8000-000000000000",
            "kind": {"group": "", "version": "v1", "kind": manifest["kind"]},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "name": manifest["metadata"]["name"],
            "namespace": "default",
            "operation": "CREATE",
            "userInfo": {"username": "somebody"},
            "object": manifest,
        },
    }


def test_without_a_provider_no_image_can_be_verified(judging: TestCluster) -> None:
    with constrained(judging):
        [message] = violations(judging, pod("registry.example/signed/alone:1"))

    assert message.startswith("System error calling external data provider: ")


@pytest.mark.usefixtures("ratify")
@pytest.mark.parametrize(("test", "case"), CASES, ids=[case["name"] for _, case in CASES])
def test_a_case_of_the_suite_holds(judging: TestCluster, test: Mapping[str, Any], case: Mapping[str, Any]) -> None:
    with constrained(judging, test["constraint"]) as name:
        messages = violations(judging, load(FOLDER / case["object"]), name)

    total, *others = case["assertions"]
    assert len(messages) == (0 if total["violations"] is False else total["violations"]), messages
    for other in others:
        matching = [message for message in messages if re.search(other["message"], message)]
        assert len(matching) == other["violations"], messages


def test_all_images_of_a_pod_are_one_question_and_an_excluded_one_is_none_of_it(
    judging: TestCluster, ratify: Ratify
) -> None:
    images = ["registry.example/signed/four:1", "registry.example/signed/five:1"]

    with constrained(judging):
        assert violations(judging, pod(*images, "registry.example/unsigned/istio:1")) == []

    assert [sorted(keys) for keys in ratify.asked] == [sorted(images)]


@pytest.mark.usefixtures("ratify")
def test_an_image_that_failed_without_a_report_is_denied_as_the_deviations_say(judging: TestCluster) -> None:
    [change] = WITHOUT_REPORT

    with constrained(judging):
        messages = violations(judging, {**change["object"], "metadata": {"name": "example", "namespace": "default"}})

    assert change["newly"] == "denied"
    assert len(messages) == 1
