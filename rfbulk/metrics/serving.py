"""Serves metrics by HTTP, from a thread of its own: who asks for them never waits for the transfer, nor it for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, start_http_server

from rfbulk.errors import UsageError
from rfbulk.metrics.watching import Metrics

if TYPE_CHECKING:
    from rfbulk.events import OnEvent


@dataclass(frozen=True, slots=True)
class Served:
    """Metrics that are served: whom to tell events, and where they are."""

    on_event: OnEvent
    url: str


@contextmanager
def serving_metrics(host: str, port: int) -> Iterator[Served]:
    """Serve the metrics of what is told, and those of this process, while the block runs. A port of 0 is any free one.

    Raises:
        UsageError: the address cannot be listened on.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    metrics = Metrics(registry)
    where = f"[{host}]" if ":" in host else host
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise UsageError(
            "serve",
            f"metrics at {where}:{port}",
            cause=str(error.strerror or error),
            advice="give --metrics another address, or stop who listens there",
        ) from None
    try:
        yield Served(metrics, f"http://{where}:{server.server_address[1]}/metrics")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
