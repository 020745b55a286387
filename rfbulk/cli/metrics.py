"""`--metrics`: serve what is told as Prometheus metrics. Loads nothing unless it is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rfbulk.errors import UsageError

if TYPE_CHECKING:
    from rfbulk.metrics.serving import Served

DEFAULT_HOST: Final = "127.0.0.1"
_ADDRESS: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%]+)\]|(?P<host>[A-Za-z0-9._-]*)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class MetricsAddress:
    """Where to listen. A port of 0 is any free one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether nobody beyond this machine reaches it."""
        return self.host in {"localhost", "::1"} or self.host.startswith("127.")


def parse_metrics_address(text: str) -> MetricsAddress:
    """Read `HOST:PORT`, `:PORT` or `PORT`; without a host it is this machine's alone.

    Raises:
        ValueError: it is none of these.
    """
    match = _ADDRESS.fullmatch(text if ":" in text else f":{text}")
    if match is None or int(match["port"]) > 65535:
        raise ValueError(f"{text!r} is no address: write it as 127.0.0.1:9464, or 9464")
    return MetricsAddress(match["six"] or match["host"] or DEFAULT_HOST, int(match["port"]))


@contextmanager
def served(address: MetricsAddress) -> Iterator[Served]:
    """Serve metrics while the block runs.

    Raises:
        UsageError: the library is not installed, or the address cannot be listened on.
    """
    try:
        from rfbulk.metrics.serving import serving_metrics  # noqa: PLC0415 - an extra, and 40 ms
    except ImportError:
        raise UsageError(
            "serve", "metrics", cause="prometheus-client is not installed", advice="pip install 'rfbulk[metrics]'"
        ) from None
    with serving_metrics(address.host, address.port) as serving:
        yield serving


def words_of(address: MetricsAddress, url: str) -> list[str]:
    """Say where they are, and who can read them."""
    told = [f"metrics: {url}"]
    if not address.is_loopback:
        told.append("warning: whoever reaches this address can read the metrics; they name no file and no batch")
    return told
