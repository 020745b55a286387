"""Where a bucket is and with whose permission it is read, by each cloud's usual environment variables and files.

| what | `s3://` | `gs://` | `az://` |
| --- | --- | --- | --- |
| server | `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` | `GOOGLE_BASE_URL` | `AZURE_STORAGE_ENDPOINT` |
| place | `AWS_REGION` | | `AZURE_STORAGE_ACCOUNT_NAME` |
| key | `AWS_ACCESS_KEY_ID` and its kin | a service account's, in a file | the account's, a SAS, both in one string |
| login | `AWS_PROFILE`, `~/.aws`: by boto3 | gcloud's application defaults | service principal, Azure CLI |
| machine | web identity, container, instance | the instance | workload and managed identity |
| nobody | `AWS_SKIP_SIGNATURE=true` | `GOOGLE_SKIP_SIGNATURE=true` | `AZURE_SKIP_SIGNATURE=true` |

Azure's variables are known by both habits, `AZURE_STORAGE_…` and `AZURE_…`; the library itself reads what is not
named below.
Secrets go from the environment into the library and are held nowhere else but in a signer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from rfbulk.core import azure_sas
from rfbulk.core.loopback import is_loopback
from rfbulk.core.objects import Address, Cloud
from rfbulk.edge.bucket_signing import Signer, sign_with_account_key, sign_with_library, sign_with_sas
from rfbulk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obstore.store import AzureStore, GCSStore, S3Store

    Store = S3Store | GCSStore | AzureStore

_ACCOUNT: Final = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT", "AZURE_ACCOUNT_NAME", "AZURE_ACCOUNT")
_KEY: Final = (
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_ACCOUNT_KEY",
    "AZURE_ACCESS_KEY",
)
_SAS: Final = ("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY", "AZURE_SAS_TOKEN", "AZURE_SAS_KEY")
_CONNECTION: Final = ("AZURE_STORAGE_CONNECTION_STRING", "AZURE_CONNECTION_STRING")
_AZURE_ENDPOINT: Final = ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")
_AWS_ENDPOINT: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_AWS_OWN: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)
"""With any of these, no profile needs to be looked for."""

LONGEST_REQUEST_SECONDS: Final = 3600.0
MAX_RETRY_SECONDS: Final = 120.0
"""The library tries a request again for so long, with the credentials that it had at first."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How buckets are spoken to: how patiently, trusting whom, and whether plain HTTP may leave this machine."""

    connect_seconds: float = 30.0
    stall_seconds: float = 60.0
    retry_seconds: float = MAX_RETRY_SECONDS
    ca_file: Path | None = None
    allow_http: bool = False


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A bucket's store, what signs for it, and the server that is not the cloud's own (empty: it is)."""

    store: Store = field(repr=False)
    sign: Signer = field(repr=False)
    endpoint: str


def open_store(address: Address, environment: Mapping[str, str], patience: Patience) -> OpenStore:
    """Return the store of a bucket. Nothing is sent yet.

    Raises:
        UsageError: the library is missing, or what the environment says cannot be used.
    """
    try:
        from obstore.exceptions import BaseError  # noqa: PLC0415 - an extra, and only for buckets
    except ImportError:
        raise _unusable(address, "reading buckets needs obstore", "pip install 'rfbulk[cloud]'") from None
    opener = {Cloud.S3: _open_s3, Cloud.GOOGLE: _open_google, Cloud.AZURE: _open_azure}[address.cloud]
    try:
        return opener(address, environment, patience)
    except (BaseError, ValueError):  # their texts may hold what they could not read
        cause = "its store cannot be opened with what the environment says"
        raise _unusable(address, cause, "check its variables") from None


def _open_s3(address: Address, environment: Mapping[str, str], patience: Patience) -> OpenStore:
    from obstore.store import S3Store  # noqa: PLC0415 - an extra

    endpoint = _first(environment, _AWS_ENDPOINT)
    options: dict[str, Any] = {}
    if endpoint:
        options["endpoint"] = endpoint
    if _needs_profile(environment):
        provider = _profile(address, environment)
        options["credential_provider"] = provider
        options |= {} if environment.get("AWS_REGION") else provider.config
    store = S3Store(address.bucket, **options, **_manners(address, endpoint, patience))
    return OpenStore(store, sign_with_library(store, "s3", address.bucket), endpoint)


def _needs_profile(environment: Mapping[str, str]) -> bool:
    if environment.get("AWS_PROFILE") and not environment.get("AWS_ACCESS_KEY_ID"):
        return True
    if _first(environment, _AWS_OWN):
        return False
    home = Path(environment.get("HOME", "/nowhere")) / ".aws"
    named = environment.get("AWS_SHARED_CREDENTIALS_FILE"), environment.get("AWS_CONFIG_FILE")
    return any(path.is_file() for path in (home / "credentials", home / "config", *map(Path, filter(None, named))))


def _profile(address: Address, environment: Mapping[str, str]) -> Any:
    """Return botocore's view of the profiles: it knows files, SSO, roles and credential processes."""
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415 - yet another extra
    except ImportError:
        cause = "profiles and single sign-on are read by boto3, which is not installed"
        raise _unusable(address, cause, "pip install boto3, or set AWS_ACCESS_KEY_ID and its kin") from None
    try:
        return Boto3CredentialProvider()
    except Exception as error:  # noqa: BLE001 - of botocore's many kinds, and its text may hold a secret
        name = environment.get("AWS_PROFILE", "default")
        cause = f"the AWS profile {name!r} gives no credentials ({type(error).__name__})"
        raise _unusable(address, cause, "check ~/.aws, or log in with `aws sso login`") from None


def _open_google(address: Address, environment: Mapping[str, str], patience: Patience) -> OpenStore:
    from obstore.store import GCSStore  # noqa: PLC0415 - an extra

    emulator = environment.get("STORAGE_EMULATOR_HOST", "")
    endpoint = environment.get("GOOGLE_BASE_URL", "") or emulator
    if endpoint and "://" not in endpoint:
        endpoint = f"http://{endpoint}"
    options: dict[str, Any] = {"base_url": endpoint} if endpoint else {}
    if emulator and not _first(environment, ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT_KEY")):
        options["skip_signature"] = True
    store = GCSStore(address.bucket, **options, **_manners(address, endpoint, patience))
    return OpenStore(store, sign_with_library(store, "gs", address.bucket), endpoint)


def _open_azure(address: Address, environment: Mapping[str, str], patience: Patience) -> OpenStore:
    from obstore.store import AzureStore  # noqa: PLC0415 - an extra

    said = _connection_string(_first(environment, _CONNECTION))
    account = said.get("accountname") or _first(environment, _ACCOUNT)
    if not account:
        raise _unusable(address, "the storage account is not named", "set AZURE_STORAGE_ACCOUNT_NAME")
    own = f"https://{account}.blob.{said.get('endpointsuffix', 'core.windows.net')}"
    endpoint = (said.get("blobendpoint") or _first(environment, _AZURE_ENDPOINT)).rstrip("/")
    key = said.get("accountkey") or ("" if said else _first(environment, _KEY))
    sas = "" if key else said.get("sharedaccesssignature") or ("" if said else _first(environment, _SAS))
    options: dict[str, Any] = {"account_name": account, "endpoint": endpoint or own}
    if key:
        options |= {"account_key": key, "credential_type": "access_key"}
    elif sas:
        options |= {"sas_key": sas.lstrip("?"), "credential_type": "sas_token"}
    store = AzureStore(address.bucket, **options, **_manners(address, endpoint, patience))
    if key:
        sign = sign_with_account_key(azure_sas.key_of(account, endpoint or own, key), address.bucket)
    elif sas:
        sign = sign_with_sas(endpoint or own, address.bucket, sas.lstrip("?"))
    else:
        sign = sign_with_library(store, "az", address.bucket)
    return OpenStore(store, sign, endpoint)


def _connection_string(text: str) -> dict[str, str]:
    """Take a connection string apart; its names in lower case."""
    pairs = (piece.partition("=") for piece in text.split(";") if piece.strip())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _manners(address: Address, endpoint: str, patience: Patience) -> dict[str, Any]:
    """Return what every store is told: how long to wait, how often to try again, whom to trust."""
    client: dict[str, Any] = {
        "connect_timeout": timedelta(seconds=patience.connect_seconds),
        "read_timeout": timedelta(seconds=patience.stall_seconds),
        "timeout": timedelta(seconds=LONGEST_REQUEST_SECONDS),
    }
    if urlsplit(endpoint).scheme == "http":
        if not patience.allow_http and not is_loopback(urlsplit(endpoint).hostname or ""):
            host = urlsplit(endpoint).hostname
            raise _unusable(address, f"its endpoint at {host} is not https", "--allow-http permits it")
        client["allow_http"] = True
    if patience.ca_file is not None:
        try:
            client["root_certificate"] = patience.ca_file.read_bytes()
        except OSError as error:
            raise _unusable(address, f"{patience.ca_file}: {error.strerror}", "check --ca-file") from None
    retry = {"max_retries": 10, "retry_timeout": timedelta(seconds=min(patience.retry_seconds, MAX_RETRY_SECONDS))}
    return {"client_options": client, "retry_config": retry}


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((value for name in names if (value := environment.get(name))), "")


def _unusable(address: Address, cause: str, advice: str) -> UsageError:
    return UsageError("read source", address.url, cause=cause, advice=advice)
