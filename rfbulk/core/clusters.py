"""How a cluster is named and spoken to, and how a folder here is called there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from rfbulk.core.loopback import is_loopback
from rfbulk.errors import UsageError

MAX_LOCAL: Final = 64
MOST_AT_ONCE: Final = 2048
"""Shards in flight in a whole cluster: each costs the coordinator some 150 KB of entries and records."""

_LOCAL: Final = re.compile(r"local(?::([0-9]{1,4}))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Which Dask cluster carries a transfer.

    `address`: `tcp://HOST:PORT` or `tls://HOST:PORT` of a scheduler, the path of the file that a scheduler wrote of
    itself, or `local[:N]`: N processes of this machine, for as long as the transfer takes. `path_map`: pairs of a
    folder here and how workers call it. `ca`, `cert`, `key`: files for `tls://` (all, or none: then Dask's own
    configuration tells them). `allow_insecure` permits `tcp://` beyond this machine: whoever can read or write there
    sees signed URLs, and can make workers do anything. `wait_seconds`: for the first worker.
    """

    address: str
    path_map: tuple[tuple[str, str], ...] = ()
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    allow_insecure: bool = False
    wait_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what cannot be carried out."""
        files = (self.ca, self.cert, self.key)
        if any(files) and not all(files):
            cause = "a cluster's authority, certificate and key go together"
            raise UsageError("set", "cluster", cause=cause, advice="give --cluster-ca, --cluster-cert, --cluster-key")
        if not self.is_local and not self.is_file:
            check_address(self.address)
        if all(files) and self.address.lower().startswith("tcp://"):
            raise _unusable(self.address, "certificates are for tls:// addresses")

    @property
    def is_local(self) -> bool:
        """Whether processes of this machine are meant."""
        return _LOCAL.fullmatch(self.address) is not None

    @property
    def is_file(self) -> bool:
        """Whether the scheduler wrote a file of where it is."""
        return not self.is_local and "://" not in self.address and ("/" in self.address or ".json" in self.address)

    @property
    def local_workers(self) -> int | None:
        """How many of them, None for as many as there are cores."""
        found = _LOCAL.fullmatch(self.address)
        return int(found[1]) if found and found[1] else None

    def check(self, address: str) -> str:
        """Return what is to be warned of, having found a scheduler's address.

        Raises:
            UsageError: it must not be spoken to.
        """
        scheme, host = check_address(address)
        if scheme == "tls" or is_loopback(host):
            return ""
        if not self.allow_insecure:
            cause = "tcp:// is neither encrypted nor authenticated: whoever reaches it sees signed URLs"
            raise _unusable(address, cause, "use tls://, or --allow-insecure-cluster within a network that you trust")
        return f"the cluster at {address} is spoken to in the clear: signed URLs can be read on the way"


def check_address(address: str) -> tuple[str, str]:
    """Return scheme and host of a scheduler's address.

    Raises:
        UsageError: it is none.
    """
    found = _LOCAL.fullmatch(address)
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
        parts = urlsplit("")
    if parts.scheme.lower() not in {"tcp", "tls"} or not host or not port or parts.path not in {"", "/"} or found:
        raise _unusable(address, "it must be tcp://HOST:PORT, tls://HOST:PORT, local, local:N, or a scheduler's file")
    if parts.username or parts.password:
        raise _unusable("with a password in it", "a scheduler's address has none")
    return parts.scheme.lower(), host


def checked_local(count: int) -> int:
    """Return how many processes are started.

    Raises:
        UsageError: they are none, or too many.
    """
    if not 1 <= count <= MAX_LOCAL:
        raise _unusable(f"local:{count}", f"it must be from local:1 to local:{MAX_LOCAL}")
    return count


def parse_path_map(text: str) -> tuple[str, str]:
    """Read `/here=/there`.

    Raises:
        UsageError: it is no such pair of absolute paths.
    """
    here, sign, there = text.partition("=")
    if not sign or not here.startswith("/") or not there.startswith("/"):
        cause = "it must be /COORDINATOR/FOLDER=/WORKER/FOLDER, both absolute"
        raise UsageError("set", f"path-map {text}", cause=cause, advice="write it as HERE=THERE")
    return here.rstrip("/") or "/", there.rstrip("/") or "/"


def path_there(path: bytes, path_map: tuple[tuple[str, str], ...]) -> bytes:
    """Return how workers call an absolute path of the coordinator. The longest prefix of whole components counts."""
    best, found = b"", b""
    for here, there in path_map:
        prefix = here.encode("utf-8", "surrogateescape")
        is_within = prefix in {b"/", path} or path.startswith(prefix + b"/")
        if is_within and len(prefix) > len(best):
            best, found = prefix, there.encode("utf-8", "surrogateescape")
    if not best:
        return path
    rest = path if best == b"/" else path[len(best) :]
    return found.rstrip(b"/") + (rest if rest != b"/" else b"") or b"/"


def _unusable(address: str, cause: str, advice: str = "") -> UsageError:
    return UsageError("use", f"cluster {address}", cause=cause, advice=advice)
