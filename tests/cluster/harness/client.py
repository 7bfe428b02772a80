"""A bare HTTP client of the API server: plain JSON and a status code, no retries, no caches, nothing shared.

Tests judge the controller by what they read through this.
"""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REQUEST_TIMEOUT = 60.0  # seconds
DEFAULT_CONTENT_TYPES = {"PATCH": "application/merge-patch+json"}


class Client:
    """Talks to one server as one user."""

    def __init__(self, server: str, authority: Path, credentials: Path | None = None) -> None:
        """`authority` and `credentials` (certificate and key in one file) are PEM files."""
        context = ssl.create_default_context(cafile=str(authority))
        if credentials is not None:
            context.load_cert_chain(credentials)
        # No proxy, whatever the environment says: the server is on loopback.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        self._server = server

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, content_type: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Send one request; the answer's status and JSON, or `{"message": text}` where it is not JSON.

        Raises OSError when there is no answer.
        """
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = content_type or DEFAULT_CONTENT_TYPES.get(method, "application/json")
        payload = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._server + path, data=payload, headers=headers, method=method)
        try:
            with self._opener.open(request, timeout=REQUEST_TIMEOUT) as response:
                return response.status, _document(response.read())
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, _document(exc.read())


def _document(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        return {"message": text.decode(errors="replace")}
    return document if isinstance(document, dict) else {"message": document}
