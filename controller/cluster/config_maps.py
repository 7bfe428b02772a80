"""ConfigMaps in which azpolicy keeps something of its own: the one way to read, write and delete them."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from controller.cluster.foreign import mapping_at, text_at, text_map_at
from controller.gatekeeper.naming import FIELD_MANAGER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.cluster.client import KubeClient
    from controller.gatekeeper.naming import OwnershipMarks


class ConfigMapStore:
    """The ConfigMaps of one namespace, by name; what is written bears our label.

    Needs the rights to get, create, update and delete them, and lists nothing.
    """

    def __init__(self, client: KubeClient, namespace: str, marks: OwnershipMarks) -> None:
        self._client = client
        self._namespace = namespace
        self._labels = marks.labels()

    def where(self, name: str) -> str:
        """How a message names a ConfigMap."""
        return f"configmap {self._namespace}/{name}"

    def _path(self, name: str = "") -> str:
        return f"/api/v1/namespaces/{self._namespace}/configmaps" + (f"/{name}" if name else "")

    async def read(self, name: str) -> Mapping[str, Any] | None:
        """The ConfigMap, None where there is none; ClusterError where the API server does not answer or refuses."""
        return await self._client.get(self._path(name))

    async def write(
        self,
        name: str,
        content: Mapping[str, Mapping[str, str]],
        before: Mapping[str, Any] | None,
        *,
        purpose: str,
        annotations: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        """Creates the ConfigMap, or replaces the one that was read `before` and no later one; gives it as stored.

        `content` has `data` or `binaryData`; annotations and labels of others stay. ClusterError, which begins with the
        purpose, where it is not written: with the status 409 where somebody else was faster.
        """
        metadata = mapping_at(before, "metadata") or {"name": name}
        manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                **metadata,
                "labels": {**text_map_at(metadata, "labels"), **self._labels},
                "annotations": {**text_map_at(metadata, "annotations"), **(annotations or {})},
            },
            **content,
        }
        method, path = ("PUT", self._path(name)) if before else ("POST", self._path())
        response = await self._client.request(method, path, query={"fieldManager": FIELD_MANAGER}, body=manifest)
        if not response.ok:
            raise response.error(f"{purpose} in {self.where(name)}")
        return response.body

    async def delete(self, name: str) -> None:
        """Deletes the ConfigMap that is there now, if any; ClusterError where that fails."""
        before = await self.read(name)
        if before is None:
            return
        response = await self._client.delete_at(self._path(name), text_at(before, "metadata", "uid"))
        if not response.ok and response.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            raise response.error(f"deleting {self.where(name)}")
