"""Walks through what a batch lists, records it page by page, and hands on what is still to be fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from msgspec.structs import replace

from rfbulk.core.export_report import ExportFailure
from rfbulk.core.exporting import (
    Element,
    ElementState,
    FailReason,
    Listed,
    Part,
    Presence,
    kind_of,
)
from rfbulk.core.failpoints import Failpoint
from rfbulk.core.fetching import FetchKind
from rfbulk.pipeline.fresh_urls import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rfbulk.core.fetching import Fingerprint
    from rfbulk.core.wire import Page, RemoteFile
    from rfbulk.pipeline.export_ports import ExportPorts
    from rfbulk.pipeline.export_tally import ExportTally
    from rfbulk.pipeline.fresh_urls import FileListing
    from rfbulk.pipeline.grouping import Groups

MAX_WALKS = 4
"""Parts that are walked through at once."""


@dataclass(frozen=True, slots=True)
class FileLister:
    """Lists the parts of one export. Made once; `list_parts` runs once."""

    ports: ExportPorts
    listing: FileListing
    tally: ExportTally
    unpack: bool
    check_failures: Callable[[], None]

    async def list_parts(self, parts: Sequence[Part], groups: Groups) -> None:
        """Walk through all parts, several at once, and put what is to be fetched. Returns once all is listed."""
        room = anyio.CapacityLimiter(MAX_WALKS)

        async def walk(part: Part) -> None:
            async with room:
                await self._list_part(part, groups)

        async with anyio.create_task_group() as walks:
            for part in parts:
                walks.start_soon(walk, part)

    async def _list_part(self, part: Part, groups: Groups) -> None:
        async def take(token: str | None, page: Page[RemoteFile]) -> None:
            wanted = await self._wanted(part, token, page.items)
            await groups.put(wanted, is_last=page.next_token is None)

        await self.listing.walk(part, take)
        self.tally.failed += await self.ports.checkpoint.end_part(part)
        self.check_failures()

    async def _wanted(self, part: Part, token: str | None, files: Sequence[RemoteFile]) -> list[Wanted]:
        """Record a page, and return what of it is still to be fetched."""
        listed = [
            Listed(file.shard_id or "", file.file_name, kind_of(file.file_name, file.content_type, unpack=self.unpack))
            for file in files
        ]
        with anyio.CancelScope(shield=True):  # what is recorded must be counted, or the books do not close
            elements, new = await self.ports.checkpoint.take_page(part, listed)
        self.tally.listed += new
        self.ports.reach(Failpoint.PAGE_RECORDED)
        self._name_refused(part, elements)
        elements = await self._with_lost(elements)
        places: dict[tuple[str, str], int] = {}
        wanted: list[Wanted] = []
        for element, file in zip(elements, files, strict=True):
            place = places[element.shard, element.name] = places.get((element.shard, element.name), -1) + 1
            if element.state is ElementState.LISTED:
                wanted.append(Wanted(element, file.download_url, part, token, place))
        return wanted

    def _name_refused(self, part: Part, elements: Sequence[Element]) -> None:
        for element in elements:
            if not element.path:
                why = "no path can be made of it that stays in the target"
                self.tally.name(ExportFailure(part.name, element.shard, element.name, FailReason.NAME, why))
        self.check_failures()

    async def _with_lost(self, elements: list[Element]) -> list[Element]:
        """Look whether what was fetched is still here. What is not is to be fetched again."""
        here = [element for element in elements if element.state is ElementState.FETCHED]
        if not here:
            return elements
        presences = await self._look(here)
        lost = {
            element.id: (element, presence)
            for element, presence in zip(here, presences, strict=True)
            if presence is not Presence.INTACT
        }
        self.tally.here += len(here) - len(lost)
        if not lost:
            return elements
        await self.ports.checkpoint.restore(list(lost.values()))
        self.ports.reach(Failpoint.RESTORE_RECORDED)
        return [_restored(element) if element.id in lost else element for element in elements]

    async def _look(self, here: Sequence[Element]) -> list[Presence]:
        plain = [element for element in here if element.kind is FetchKind.PLAIN]
        marks = [(element.path, element.fingerprint) for element in plain if element.fingerprint is not None]
        found = iter(await self._look_at(marks))
        presences = {element.id: next(found) for element in plain if element.fingerprint is not None}
        for element in here:
            if element.kind is not FetchKind.PLAIN:  # one at a time: each may have a hundred thousand members
                presences[element.id] = await self._look_inside(element)
        return [presences[element.id] for element in here]

    async def _look_inside(self, archive: Element) -> Presence:
        (members,) = await self.ports.checkpoint.members([archive])
        marks = [(member.path, member.fingerprint) for member in members if member.fingerprint is not None]
        return _worst(await self._look_at(marks))

    async def _look_at(self, marks: Sequence[tuple[str, Fingerprint]]) -> list[Presence]:
        """A disk that hangs may be left behind: this only looks."""
        return await anyio.to_thread.run_sync(self.ports.target.look, marks, abandon_on_cancel=True)


def _worst(presences: Sequence[Presence]) -> Presence:
    """What is to be said of a file, or of an archive of which some members may be missing."""
    if Presence.CHANGED in presences:
        return Presence.CHANGED
    return Presence.DELETED if Presence.DELETED in presences else Presence.INTACT


def _restored(element: Element) -> Element:
    return replace(element, state=ElementState.LISTED, restored=True)
