"""Start and question the source: the service and the store that all contenders fetch from."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

from benchmarks.servers import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from benchmarks.shelves import Shelf

BATCHES = "/data-staging/v1/external/bench/batches"
PAGE_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Stats:
    """What was served since the last reset. Moments are of the monotonic clock, 0 where there was none."""

    requests: int
    listings: int
    gets: int
    body_bytes: int
    cpu_seconds: float  # of the source itself, since its start
    first_request: float
    first_get: float
    last_get: float


class Source:
    """A running source of one shelf. It ends with its context, or with this process."""

    def __init__(self, shelf: Shelf, build: Path) -> None:
        self._server = Server("source", build, str(shelf.index), str(shelf.folder))

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

    def reset(self) -> None:
        """Count from zero."""
        self._server.ask("POST", "/_reset")

    def stats(self) -> Stats:
        """Return the totals since the last reset."""
        values = json.loads(self._server.ask("GET", "/_stats"))
        return Stats(**{field.name: values[field.name] for field in fields(Stats)})

    def listed(self, batch: str) -> Iterator[tuple[str, str]]:
        """List URL and `part/name` of every file, as a client would before it downloads."""
        parts = json.loads(self._server.ask("GET", f"{BATCHES}/{batch}/parts?api_key=bench"))
        for part in parts["batchParts"]:
            place: str | None = "0"
            while place is not None:
                query = f"partName={part['partName']}&pageSize={PAGE_ROWS}&nextPageToken={place}&api_key=bench"
                page = json.loads(self._server.ask("GET", f"{BATCHES}/{batch}/list?{query}"))
                for file in page["filesMetadata"]:
                    yield file["downloadURL"], f"{file['partName']}/{file['fileName']}"
                place = page["nextPageToken"]
