from __future__ import annotations

import base64
import builtins
from pathlib import Path
from typing import Any

import pytest

from rfbulk.core.objects import parse_address
from rfbulk.edge.bucket_stores import Patience, open_store
from rfbulk.errors import UsageError

KEY = base64.b64encode(b"account-key-canary").decode()
ACCOUNTS = ["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT", "AZURE_ACCOUNT_NAME"]
KEYS = ["AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_ACCOUNT_KEY"]
SAS = ["AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY", "AZURE_SAS_TOKEN"]


@pytest.fixture(autouse=True)
def _no_clouds_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nowhere")
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AZURE_STORAGE_ACCOUNT_NAME", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)


def config_of(address: str, patience: Patience | None = None, /, **environment: str) -> dict[str, Any]:
    opened = open_store(parse_address(address), environment, patience or Patience())
    return dict(opened.store.config)


@pytest.mark.parametrize("account", ACCOUNTS)
@pytest.mark.parametrize("key", KEYS)
def test_azures_account_and_key_are_known_by_every_habit(account: str, key: str) -> None:
    config = config_of("az://pics", **{account: "mine", key: KEY})
    assert (config["account_name"], config["account_key"]) == ("mine", KEY)
    assert config["endpoint"] == "https://mine.blob.core.windows.net"


@pytest.mark.parametrize("sas", SAS)
def test_azures_sas_is_known_by_every_habit(sas: str) -> None:
    config = config_of("az://pics", AZURE_ACCOUNT_NAME="mine", **{sas: "?sv=1&sig=x"})
    assert config["sas_key"] == "sv=1&sig=x"


def test_azures_connection_string_says_it_all() -> None:
    text = f"DefaultEndpointsProtocol=https;AccountName=mine;AccountKey={KEY};EndpointSuffix=core.chinacloudapi.cn"
    config = config_of("az://pics", AZURE_STORAGE_CONNECTION_STRING=text, AZURE_STORAGE_SAS_TOKEN="sig=ignored")
    assert (config["account_name"], config["account_key"]) == ("mine", KEY)
    assert config["endpoint"] == "https://mine.blob.core.chinacloudapi.cn"
    text = "BlobEndpoint=https://blobs.example/;AccountName=mine;SharedAccessSignature=sv=1&sig=y=="
    config = config_of("az://pics", AZURE_STORAGE_CONNECTION_STRING=text)
    assert (config["endpoint"], config["sas_key"]) == ("https://blobs.example", "sv=1&sig=y==")


def test_azure_without_an_account_is_refused() -> None:
    with pytest.raises(UsageError, match="AZURE_STORAGE_ACCOUNT_NAME"):
        config_of("az://pics")


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
def test_s3_compatible_stores_are_named_as_usual(name: str) -> None:
    assert config_of("s3://pics", **{name: "https://minio.example"})["endpoint"] == "https://minio.example"


def test_an_endpoint_without_tls_must_be_this_machine_or_permitted() -> None:
    variables = {"AWS_ENDPOINT_URL": "http://minio.example"}
    with pytest.raises(UsageError, match="--allow-http"):
        config_of("s3://pics", **variables)
    assert config_of("s3://pics", Patience(allow_http=True), **variables)
    assert config_of("s3://pics", AWS_ENDPOINT_URL="http://127.0.0.1:9000")


def test_a_profile_is_read_by_boto3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = tmp_path / "credentials"
    credentials.write_text("[work]\naws_access_key_id = AKIA\naws_secret_access_key = secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_PROFILE", "work")
    opened = open_store(parse_address("s3://pics"), {"AWS_PROFILE": "work"}, Patience())
    provider = opened.store.credential_provider
    assert provider is not None
    assert dict(provider())["access_key_id"] == "AKIA"  # type: ignore[arg-type]  # it is boto3's, which does not wait
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(UsageError, match="nobody"):
        open_store(parse_address("s3://pics"), {"AWS_PROFILE": "nobody"}, Patience())


@pytest.mark.parametrize(
    ("module", "environment", "advice"),
    [("obstore.exceptions", {}, r"rfbulk\[cloud\]"), ("obstore.auth.boto3", {"AWS_PROFILE": "work"}, "boto3")],
)
def test_what_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, environment: dict[str, str], advice: str
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == module:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=advice):
        open_store(parse_address("s3://pics"), environment, Patience())


def test_what_cannot_be_used_is_told_without_what_it_was() -> None:
    variables = {"AZURE_STORAGE_ACCOUNT_NAME": "mine", "AZURE_STORAGE_ACCOUNT_KEY": "canary-no-base64!"}
    with pytest.raises(UsageError) as raised:
        open_store(parse_address("az://pics"), variables, Patience())
    assert "canary" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_certificate_authority_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--ca-file"):
        config_of("s3://pics", Patience(ca_file=tmp_path / "none.pem"))


def test_stores_and_signers_do_not_show_their_secrets() -> None:
    opened = open_store(
        parse_address("az://pics"), {"AZURE_ACCOUNT_NAME": "mine", "AZURE_ACCOUNT_KEY": KEY}, Patience()
    )
    assert KEY not in repr(opened)
    assert KEY not in repr(opened.store)
