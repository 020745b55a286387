"""Records what has landed, some of it at a time: first it is made durable on its disk, then in the checkpoint.

So what the checkpoint calls fetched survives a power cut, and neither a file nor a small archive costs a wait for the
disk of its own. What had landed and was not recorded when the process died is known again by its content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rfbulk.core.failpoints import Failpoint
from rfbulk.events import FilesFetched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfbulk.core.exporting import Element
    from rfbulk.core.fetching import FetchResult, Fingerprint
    from rfbulk.pipeline.export_ports import ExportPorts
    from rfbulk.pipeline.export_tally import ExportTally

RECORD_SECONDS = 1.0
"""What a killed export fetches again, at most."""

MAX_UNRECORDED = 4096
"""Files that have landed and are kept in memory until they are recorded: a few hundred bytes each."""


class Recorder:
    """Gathers what has landed and records it about once a second, while `run` runs, and at `flush`."""

    def __init__(self, ports: ExportPorts, tally: ExportTally) -> None:
        self._ports = ports
        self._tally = tally
        self._files: list[tuple[Element, FetchResult]] = []
        self._archives: list[tuple[Element, dict[int, Fingerprint]]] = []

    async def add_files(self, fetched: Sequence[tuple[Element, FetchResult]]) -> None:
        """Take plain files that have landed."""
        self._files += fetched
        await self._note(len(fetched), sum(result.size for _, result in fetched))

    async def add_archive(self, element: Element, marks: dict[int, Fingerprint]) -> None:
        """Take an archive whose members have landed, by their numbers."""
        self._archives.append((element, marks))
        await self._note(1, sum(mark.size for mark in marks.values()))

    async def run(self) -> None:
        """Record what has gathered, again and again, until cancelled."""
        while True:
            await self._ports.clock.sleep(RECORD_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Record all that has gathered. What could not be recorded stays, to be tried again."""
        files, self._files = self._files, []
        archives, self._archives = self._archives, []
        if not files and not archives:
            return
        try:
            await self._record(files, archives)
        except BaseException:
            self._files = files + self._files
            self._archives = archives + self._archives
            raise

    async def _record(
        self, files: Sequence[tuple[Element, FetchResult]], archives: Sequence[tuple[Element, dict[int, Fingerprint]]]
    ) -> None:
        await self._ports.receiver.sync()
        self._ports.reach(Failpoint.FILES_SYNCED)
        checkpoint = self._ports.checkpoint
        if files:
            await checkpoint.record_fetched(files)
        for element, marks in archives:
            await checkpoint.record_landed(element, marks)
        self._ports.reach(Failpoint.FETCHED_RECORDED)

    async def _note(self, files: int, size: int) -> None:
        self._tally.fetched += files
        self._tally.bytes_fetched += size
        self._tally.last_success = self._ports.clock.monotonic()
        self._ports.tell(FilesFetched(files, size))
        if len(self._files) + len(self._archives) >= MAX_UNRECORDED:
            await self.flush()
