"""Who reads Azure: chosen by a setting, told clearly when it cannot be."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from controller.azure.arm import ArmReader
from controller.azure.clouds import CLOUDS, CloudName, custom_cloud
from controller.azure.credentials import CredentialKind, CredentialSettings, credential_settings, make_credential
from controller.errors import InputError, SourceError
from tests.azure.standin import CLIENT_ID, SECRET, TENANT_ID
from tests.azure.world import CLUSTER_ID
from tests.certs import Authority

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from controller.azure.access import ArmSettings
    from tests.azure.conftest import Waits
    from tests.azure.standin import Standin

IDENTITY = {"AZURE_TENANT_ID": TENANT_ID, "AZURE_CLIENT_ID": CLIENT_ID}


async def read_as(settings: ArmSettings, credential: CredentialSettings, waits: Waits) -> int:
    """The number of assignments that a credential gets to see."""
    async with ArmReader(replace(settings, credential=credential), sleep=waits) as reader:
        return len((await reader.read()).state.assignments)


async def test_a_client_secret_reads_azure(arm: Standin, waits: Waits) -> None:
    settings = credential_settings("client-secret", IDENTITY | {"AZURE_CLIENT_SECRET": SECRET})

    assert await read_as(arm.settings(CLUSTER_ID), settings, waits) == 3


async def test_workload_identity_reads_azure_with_the_token_of_its_file(
    arm: Standin, waits: Waits, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(SECRET)
    settings = credential_settings("workload-identity", IDENTITY | {"AZURE_FEDERATED_TOKEN_FILE": str(token)})

    assert await read_as(arm.settings(CLUSTER_ID), settings, waits) == 3


PASSWORD = "of-the-key"
RSA = rsa.generate_private_key(65537, 2048)


def certificate(file: Path, *, password: str = "", key: rsa.RSAPrivateKey | None = RSA) -> bytes:
    """Writes a client certificate and its key, encrypted where there is a password; the certificate alone."""
    pair = Authority().client("azpolicy", key=key)
    private = load_pem_private_key(pair.key, None)
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    file.write_bytes(pair.certificate + private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return pair.certificate


def by_certificate(file: Path, password: str = "") -> CredentialSettings:
    variables = {"AZURE_CLIENT_CERTIFICATE_PATH": str(file), "AZURE_CLIENT_CERTIFICATE_PASSWORD": password}
    return credential_settings("client-certificate", IDENTITY | variables)


@pytest.mark.parametrize("password", ["", PASSWORD])
async def test_a_client_certificate_reads_azure(password: str, arm: Standin, waits: Waits, tmp_path: Path) -> None:
    file = tmp_path / "client.pem"
    arm.certificates.append(certificate(file, password=password))

    assert await read_as(arm.settings(CLUSTER_ID), by_certificate(file, password), waits) == 3


async def test_a_certificate_that_azure_does_not_know_gets_no_token(arm: Standin, waits: Waits, tmp_path: Path) -> None:
    certificate(tmp_path / "client.pem", key=rsa.generate_private_key(65537, 2048))
    arm.certificates.append(certificate(tmp_path / "another.pem"))

    with pytest.raises(SourceError, match="no token from the credential"):
        await read_as(arm.settings(CLUSTER_ID), by_certificate(tmp_path / "client.pem"), waits)


@pytest.mark.parametrize(
    ("encrypted", "given", "key", "reason"),
    [
        (PASSWORD, "", RSA, "[Pp]assword"),
        (PASSWORD, "another", RSA, "[Pp]assword"),
        ("", PASSWORD, RSA, "[Pp]assword"),
        ("", "", None, "RSA private key"),
    ],
    ids=["password missing", "password wrong", "password for nothing", "no RSA key"],
)
def test_a_certificate_that_cannot_be_used_says_why(
    encrypted: str, given: str, key: rsa.RSAPrivateKey | None, reason: str, tmp_path: Path
) -> None:
    certificate(tmp_path / "client.pem", password=encrypted, key=key)

    with pytest.raises(InputError, match=rf"credential client-certificate .*cannot be made: .*({reason})") as failure:
        make_credential(by_certificate(tmp_path / "client.pem", given), CLOUDS[CloudName.PUBLIC])

    assert "\n" not in str(failure.value)


async def test_a_credential_that_gets_no_token_is_a_source_error_of_one_line(arm: Standin, waits: Waits) -> None:
    settings = credential_settings("client-secret", IDENTITY | {"AZURE_CLIENT_SECRET": "wrong-one"})

    with pytest.raises(SourceError, match="no token from the credential") as failure:
        await read_as(arm.settings(CLUSTER_ID), settings, waits)

    assert "\n" not in str(failure.value)
    assert "wrong-one" not in str(failure.value)
    assert arm.requests == []


async def test_a_missing_token_file_is_a_source_error(arm: Standin, waits: Waits, tmp_path: Path) -> None:
    token = str(tmp_path / "none")
    settings = credential_settings("workload-identity", IDENTITY | {"AZURE_FEDERATED_TOKEN_FILE": token})

    with pytest.raises(SourceError, match="none"):
        await read_as(arm.settings(CLUSTER_ID), settings, waits)


@pytest.mark.parametrize(
    ("kind", "environ", "missing"),
    [
        ("workload-identity", {}, "AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_FEDERATED_TOKEN_FILE"),
        ("client-secret", IDENTITY, "AZURE_CLIENT_SECRET"),
        ("client-secret", IDENTITY | {"AZURE_CLIENT_SECRET": ""}, "AZURE_CLIENT_SECRET"),
        ("client-certificate", IDENTITY, "AZURE_CLIENT_CERTIFICATE_PATH"),
    ],
)
def test_what_a_kind_lacks_is_named(kind: str, environ: Mapping[str, str], missing: str) -> None:
    with pytest.raises(InputError, match=f"^credential {kind} needs {missing} in the environment$"):
        credential_settings(kind, environ)


def test_an_unknown_kind_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="'default' is not known: choose one of workload-identity, managed-identity"):
        credential_settings("default", {})


async def test_every_kind_becomes_the_credential_of_that_name(tmp_path: Path) -> None:
    file = tmp_path / "client.pem"
    certificate(file)
    environ = IDENTITY | {
        "AZURE_CLIENT_SECRET": SECRET,
        "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token"),
        "AZURE_CLIENT_CERTIFICATE_PATH": str(file),
    }
    names: dict[CredentialKind, str] = {}
    for kind in CredentialKind:
        async with make_credential(credential_settings(kind, environ), CLOUDS[CloudName.CHINA]) as credential:
            names[kind] = type(credential).__name__

    assert names == {
        CredentialKind.WORKLOAD_IDENTITY: "WorkloadIdentityCredential",
        CredentialKind.MANAGED_IDENTITY: "ManagedIdentityCredential",
        CredentialKind.CLIENT_SECRET: "ClientSecretCredential",
        CredentialKind.CLIENT_CERTIFICATE: "CertificateCredential",
        CredentialKind.AZURE_CLI: "AzureCliCredential",
    }


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"credential client-certificate .*none\.pem"):
        make_credential(by_certificate(tmp_path / "none.pem"), CLOUDS[CloudName.PUBLIC])


def test_secrets_are_in_no_text() -> None:
    settings = credential_settings("client-secret", IDENTITY | {"AZURE_CLIENT_SECRET": SECRET})

    assert SECRET not in f"{settings} {settings!r}"


@pytest.mark.parametrize("address", ["http://arm.test", "arm.test", "", "https://"])
def test_a_cloud_without_tls_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="give an address that starts with https://"):
        custom_cloud(address)


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_a_ca_file_that_cannot_be_used_is_named(content: str | None, arm: Standin, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    settings = arm.settings(CLUSTER_ID)
    settings = replace(settings, cloud=replace(settings.cloud, ca_file=str(file)))

    with pytest.raises(InputError, match=r"CA file .*ca\.pem cannot be used"):
        ArmReader(settings, credential=arm.credential())


def test_settings_and_snapshots_do_not_import_the_sdk() -> None:
    modules = "access, clouds, credentials, model, parse, snapshot"
    code = f"import sys; from controller.azure import {modules}; print([m for m in sys.modules if m[:6] == 'azure.'])"

    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert found.stdout.strip() == "[]"
