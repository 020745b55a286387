"""Start and question the sink: the service and the store that all contenders send to."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

from benchmarks.servers import Server

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


@dataclass(frozen=True, slots=True)
class Stats:
    """What arrived since the last reset. Moments are of the monotonic clock, 0 where there was none."""

    requests: int
    grants: int
    puts: int
    malformed: int
    body_bytes: int
    images: int
    image_bytes: int
    image_sum: int
    cpu_seconds: float  # of the sink itself, since its start
    first_request: float
    first_put: float
    last_put: float


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files by which the sink's store is known: its certificate, its key, and the authority that signed it."""

    chain: Path
    key: Path
    authority: Path


class Sink:
    """A running sink. It ends with its context, or with this process. With a certificate its store speaks TLS."""

    def __init__(self, build: Path, certificate: Certificate | None = None) -> None:
        arguments = () if certificate is None else (str(certificate.chain), str(certificate.key))
        self._server = Server("sink", build, *arguments, has_tls=certificate is not None)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, trace)

    def reset(self, *, sums: bool = False, port: int = 0) -> None:
        """Forget everything. With `sums`, take each image's checksum from now on, which costs time.

        Grants lead to `port` from now on, which is one that leads here (0: the sink's own).
        """
        self._server.ask("POST", f"/_reset?sums={int(sums)}&port={port}")

    def stats(self) -> Stats:
        """Return the totals since the last reset."""
        values = json.loads(self._server.ask("GET", "/_stats"))
        return Stats(**{field.name: values[field.name] for field in fields(Stats)})
