"""Which identity reads Azure, chosen by a setting: in a cluster a guess can end in somebody else's rights.

The kinds read the environment variables that azure-identity and the workload identity webhook already use, so that
nothing has to be said twice. The SDK is imported when a credential is made, not before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, assert_never

from controller.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azure.core.credentials_async import AsyncTokenCredential

    from controller.azure.clouds import Cloud


class CredentialKind(StrEnum):
    """The ways to be someone in Azure; `azure-cli` is for a developer's machine."""

    WORKLOAD_IDENTITY = "workload-identity"
    MANAGED_IDENTITY = "managed-identity"
    CLIENT_SECRET = "client-secret"  # noqa: S105 - the name of a kind
    CLIENT_CERTIFICATE = "client-certificate"
    AZURE_CLI = "azure-cli"


_TENANT, _CLIENT = "AZURE_TENANT_ID", "AZURE_CLIENT_ID"
_SECRET, _TOKEN_FILE = "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"
_CERTIFICATE, _PASSWORD = "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_CLIENT_CERTIFICATE_PASSWORD"

_NEEDED: Final[Mapping[CredentialKind, tuple[str, ...]]] = MappingProxyType(
    {
        CredentialKind.WORKLOAD_IDENTITY: (_TENANT, _CLIENT, _TOKEN_FILE),
        CredentialKind.MANAGED_IDENTITY: (),
        CredentialKind.CLIENT_SECRET: (_TENANT, _CLIENT, _SECRET),
        CredentialKind.CLIENT_CERTIFICATE: (_TENANT, _CLIENT, _CERTIFICATE),
        CredentialKind.AZURE_CLI: (),
    }
)


@dataclass(frozen=True, slots=True)
class CredentialSettings:
    """One kind with what it needs; secrets stay out of its repr."""

    kind: CredentialKind
    tenant_id: str = ""
    client_id: str = ""
    token_file: str = ""
    certificate_file: str = ""
    certificate_password: str = field(default="", repr=False)
    client_secret: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.kind} {self.client_id}".rstrip()


def credential_settings(kind: str, environ: Mapping[str, str]) -> CredentialSettings:
    """The settings of `kind` out of `environ`; InputError names an unknown kind and every variable that is missing."""
    try:
        chosen = CredentialKind(kind)
    except ValueError:
        kinds = ", ".join(CredentialKind)
        raise InputError(f"credential {kind!r} is not known: choose one of {kinds}") from None
    if missing := [name for name in _NEEDED[chosen] if not environ.get(name)]:
        raise InputError(f"credential {chosen} needs {', '.join(missing)} in the environment")
    return CredentialSettings(
        kind=chosen,
        tenant_id=environ.get(_TENANT, ""),
        client_id=environ.get(_CLIENT, ""),
        token_file=environ.get(_TOKEN_FILE, ""),
        certificate_file=environ.get(_CERTIFICATE, ""),
        certificate_password=environ.get(_PASSWORD, ""),
        client_secret=environ.get(_SECRET, ""),
    )


def make_credential(settings: CredentialSettings, cloud: Cloud) -> AsyncTokenCredential:
    """The SDK's credential for `settings`, asking `cloud`'s authority; InputError if its files cannot be used."""
    from azure.identity import aio  # noqa: PLC0415 - 34 MB that a snapshot does not need

    # An authority outside Microsoft's clouds is not in the list that identity would otherwise ask the public cloud for.
    options: dict[str, Any] = {"authority": cloud.authority, "disable_instance_discovery": not cloud.microsofts}
    options["connection_verify"] = cloud.ca_file or True
    identity: dict[str, Any] = {"tenant_id": settings.tenant_id, "client_id": settings.client_id, **options}
    try:
        match settings.kind:
            case CredentialKind.WORKLOAD_IDENTITY:
                return aio.WorkloadIdentityCredential(token_file_path=settings.token_file, **identity)
            case CredentialKind.MANAGED_IDENTITY:
                return aio.ManagedIdentityCredential(client_id=settings.client_id or None)
            case CredentialKind.CLIENT_SECRET:
                return aio.ClientSecretCredential(client_secret=settings.client_secret, **identity)
            case CredentialKind.CLIENT_CERTIFICATE:
                password = settings.certificate_password or None
                certificate = settings.certificate_file
                return aio.CertificateCredential(certificate_path=certificate, password=password, **identity)
            case CredentialKind.AZURE_CLI:
                return aio.AzureCliCredential(tenant_id=settings.tenant_id)
            case unknown:
                assert_never(unknown)
    except (OSError, TypeError, ValueError) as exc:  # a TypeError: a password that is missing, or not asked for
        reason = " ".join(str(exc).split())
        raise InputError(f"credential {settings} cannot be made: {reason}") from exc
