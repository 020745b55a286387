"""The listings of a batch's files, and fresh URLs for those whose own have ended: only the pages needed are asked."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import anyio

from rfbulk.core.exporting import Element, Part, Tries
from rfbulk.errors import ServiceRefused, TroublePassing
from rfbulk.pipeline.paging import PAGE_FILES, first_page, walk_pages_ahead
from rfbulk.pipeline.retrying import persist

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfbulk.core.model import BatchId
    from rfbulk.core.retry import RetryPolicy
    from rfbulk.core.secrets import SignedUrl
    from rfbulk.core.wire import Page, RemoteFile
    from rfbulk.pipeline.export_ports import ExportPorts
    from rfbulk.pipeline.export_tally import ExportTally
    from rfbulk.pipeline.gate import Gate

T = TypeVar("T")
MAX_PAGES_KEPT = 8
"""Pages that were listed again and are remembered, so that the many files of one page share one listing."""

Key: TypeAlias = tuple[str, str]
"""A file's shard and name."""


@dataclass(slots=True)
class Wanted:
    """A remote file that is to be fetched, and where its URL is from.

    `token` is of the page that listed it, `place` where it stands there among those of the same shard and name.
    `listed_at` counts listings: one of two URLs is newer if its number is higher.
    """

    element: Element
    url: SignedUrl
    part: Part
    token: str | None
    place: int
    listed_at: int = 0
    tries: Tries = field(default_factory=Tries)


@dataclass(frozen=True, slots=True)
class FileListing:
    """The listings of one batch's files, each page retried by the policy.

    Tokens lead on in pages of one size: a part is listed in pages of the size that its first page was had with.
    """

    ports: ExportPorts
    batch: BatchId
    policy: RetryPolicy
    gate: Gate
    tally: ExportTally
    _sizes: dict[int, int | None] = field(default_factory=dict)

    async def persist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call of the API until it succeeds, or the policy's budget is used up."""
        return await persist(
            call, policy=self.policy, clock=self.ports.clock, tell=self.ports.tell, on_trouble=self._note_trouble
        )

    async def page(self, part: Part, token: str | None) -> Page[RemoteFile]:
        """List one page. A service that has no large ones chooses their size itself."""
        if token is None and part.number not in self._sizes:
            return await self._first_page(part)
        return await self.persist(partial(self._ask, part, token, self._sizes.get(part.number, PAGE_FILES)))

    async def _first_page(self, part: Part) -> Page[RemoteFile]:
        page, size = await first_page(self.persist, partial(self._ask, part, None))
        self._sizes.setdefault(part.number, size)
        return page

    async def _ask(self, part: Part, token: str | None, size: int | None) -> Page[RemoteFile]:
        return await self.ports.service.files_page(self.batch, part.name or None, token, size)

    async def walk(self, part: Part, take: Callable[[str | None, Page[RemoteFile]], Awaitable[None]]) -> None:
        """Give `take` every page of a part, with the token that leads to it, while the next is asked for."""
        await walk_pages_ahead("list files of", self.batch, partial(self.page, part), take)

    def _note_trouble(self, error: TroublePassing) -> None:
        self.tally.retries[f"api {error.status or 'connection'}"] += 1
        self.gate.slow_down(error.retry_after)


@dataclass(slots=True)
class _Listed:
    """What a page listed, and when. `is_there` is set once it has answered."""

    listed_at: int
    is_there: anyio.Event = field(default_factory=anyio.Event)
    urls: dict[Key, list[SignedUrl]] = field(default_factory=dict)
    has_failed: bool = False


class FreshUrls:
    """Lists pages again for files whose URLs have ended. Files that ask for the same page share one listing."""

    def __init__(self, listing: FileListing) -> None:
        self._listing = listing
        self._pages: OrderedDict[tuple[int, str | None], _Listed] = OrderedDict()
        self._count = 0

    async def renew(self, group: Sequence[Wanted]) -> list[Wanted]:
        """Give each a fresh URL: from its own page, else from a walk through its part.

        Return those that are not listed any more.

        Raises:
            TroublePassing: the service did not answer for the whole retry budget.
        """
        missing: list[Wanted] = []
        for wanted in group:
            page = await self._page(wanted)
            urls = page.urls.get((wanted.element.shard, wanted.element.name), [])
            if wanted.place < len(urls):
                wanted.url, wanted.listed_at = urls[wanted.place], page.listed_at
            else:
                missing.append(wanted)
        return await self._search(missing) if missing else []

    async def _page(self, wanted: Wanted) -> _Listed:
        """The wanted one's page as it was listed after its URL."""
        key = wanted.part.number, wanted.token
        while True:
            known = self._pages.get(key)
            if known is None or (known.is_there.is_set() and known.listed_at <= wanted.listed_at):
                return await self._list(wanted, key)
            await known.is_there.wait()
            if known.listed_at > wanted.listed_at and not known.has_failed:
                return known

    async def _list(self, wanted: Wanted, key: tuple[int, str | None]) -> _Listed:
        self._count += 1
        page = self._pages[key] = _Listed(self._count)
        try:
            page.urls = _by_key((await self._listing.page(wanted.part, wanted.token)).items)
        except ServiceRefused:
            pass  # the token has ended as well: nothing is found on this page
        except BaseException:
            page.has_failed = True
            del self._pages[key]
            raise
        finally:
            page.is_there.set()
        self._pages.move_to_end(key)
        while len(self._pages) > MAX_PAGES_KEPT:
            self._forget_one()
        return page

    def _forget_one(self) -> None:
        for key, page in self._pages.items():
            if page.is_there.is_set():
                del self._pages[key]
                return

    async def _search(self, missing: list[Wanted]) -> list[Wanted]:
        """Walk through their parts: pages have shifted since."""
        lost: list[Wanted] = []
        for part in {wanted.part.number: wanted.part for wanted in missing}.values():
            lost += await self._search_in(part, [wanted for wanted in missing if wanted.part.number == part.number])
        return lost

    async def _search_in(self, part: Part, missing: list[Wanted]) -> list[Wanted]:
        sought = {(wanted.element.shard, wanted.element.name, wanted.element.ordinal): wanted for wanted in missing}
        ordinals = {key[:2]: 0 for key in sought}
        self._count += 1
        now = self._count

        async def take(token: str | None, page: Page[RemoteFile]) -> None:
            places: dict[Key, int] = {}
            for file in page.items:
                key = _key(file)
                if key not in ordinals:
                    continue
                wanted = sought.pop((*key, ordinals[key]), None)
                ordinals[key] += 1
                places[key] = places.get(key, -1) + 1
                if wanted is not None:
                    wanted.url, wanted.listed_at = file.download_url, now
                    wanted.token, wanted.place = token, places[key]

        await self._listing.walk(part, take)
        return list(sought.values())


def _key(file: RemoteFile) -> Key:
    return file.shard_id or "", file.file_name


def _by_key(files: Sequence[RemoteFile]) -> dict[Key, list[SignedUrl]]:
    urls: dict[Key, list[SignedUrl]] = {}
    for file in files:
        urls.setdefault(_key(file), []).append(file.download_url)
    return urls
