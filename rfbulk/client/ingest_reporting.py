"""What an ingest keeps for its report file, where one is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rfbulk.edge.ingest_reportfile import SeenReferences, write_ingest_report_file
from rfbulk.edge.reportfile import NamedFiles
from rfbulk.errors import UsageError
from rfbulk.pipeline.ingesting import Query, ReferenceList, References

if TYPE_CHECKING:
    from pathlib import Path

    from rfbulk.core.ingest_report import IngestReport
    from rfbulk.edge.ingest_checkpoint import IngestCheckpoint
    from rfbulk.events import Event, OnEvent


class IngestReporting:
    """Stands between an ingest and its source and listener, and takes note of what the report file tells.

    Without a `path` it lets all pass.

    Raises:
        UsageError: what the ingest brings, the service alone knows, so that there is nothing to report.
    """

    def __init__(self, path: Path | None, what: References | ReferenceList | Query, on_event: OnEvent) -> None:
        self.what = what
        self._path = path
        self._on_event = on_event
        self._named = NamedFiles()
        self._seen: SeenReferences | None = None
        if path is not None:
            references = _known_here(what)
            self._seen = SeenReferences(references.source)
            self.what = replace(references, source=self._seen)

    def close(self) -> None:
        """Forget all that was kept."""
        self._named.close()
        if self._seen is not None:
            self._seen.close()

    def tell(self, event: Event) -> None:
        """Take note of an event, and pass it on."""
        if self._seen is not None:
            self._named.take(event)
        self._on_event(event)

    async def write(self, report: IngestReport, checkpoint: IngestCheckpoint) -> None:
        """Write the file, if one was asked for.

        Raises:
            UsageError, NoRoom: it cannot be written.
        """
        if self._path is not None and self._seen is not None:
            await write_ingest_report_file(self._path, checkpoint, self._seen, report, self._named)


def _known_here(what: References | ReferenceList | Query) -> References:
    if isinstance(what, References):
        return what
    cause = "what a list elsewhere or a query brings, the service alone knows"
    raise UsageError("write", "a report", cause=cause, advice="leave out --report; `rfbulk batch files B` lists it")
