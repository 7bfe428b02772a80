"""A bare HTTP client of the API server: plain JSON and a status code, no retries, no caches of answers.

Tests judge the controller by what they read through this.
"""

import http.client
import json
import select
import ssl
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REQUEST_TIMEOUT = 60.0  # seconds
DEFAULT_CONTENT_TYPES = {"PATCH": "application/merge-patch+json"}


class Client:
    """Talks to one server as one user, over connections that stay open; threads may share it.

    Half of what a request took of the processors, here and in the API server, was the handshake of a new connection.
    """

    def __init__(self, server: str, authority: Path, credentials: Path | None = None) -> None:
        """`server` is https://HOST:PORT.

        `authority` and `credentials` (certificate and key in one file) are PEM files.
        """
        self._context = ssl.create_default_context(cafile=str(authority))
        if credentials is not None:
            self._context.load_cert_chain(credentials)
        self._address = server.removeprefix("https://")
        self._idle = deque[http.client.HTTPSConnection]()

    def close(self) -> None:
        """Closes the connections; a request opens another."""
        while self._idle:
            self._idle.pop().close()

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
        connection = self._connection()
        try:
            connection.request(method, path, body=payload, headers=headers)
            with connection.getresponse() as response:
                answer = response.status, _document(response.read())
        except BaseException:
            connection.close()  # whatever still comes would be taken for the next answer
            raise
        self._idle.append(connection)
        return answer

    def _connection(self) -> http.client.HTTPSConnection:
        """One that nobody uses, closed where the server has closed it: then the request opens it again."""
        try:
            connection = self._idle.pop()
        except IndexError:
            return http.client.HTTPSConnection(self._address, timeout=REQUEST_TIMEOUT, context=self._context)
        # Nothing is awaited, so what there is to read is the server's goodbye.
        if connection.sock is not None and select.select([connection.sock], [], [], 0)[0]:
            connection.close()
        return connection


def _document(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        return {"message": text.decode(errors="replace")}
    return document if isinstance(document, dict) else {"message": document}
