"""Downloads through signed URLs, GET and HEAD: whole files and ranges, and whatever can go wrong with their bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rfbulk.emulator.access import check_signature
from rfbulk.emulator.answers import StoreError
from rfbulk.emulator.bodies import BODY_FAULT_KEY
from rfbulk.emulator.describing import Description
from rfbulk.emulator.ranges import Span, UnsatisfiableError, asked_span, is_current
from rfbulk.emulator.sending import Body, send
from rfbulk.emulator.shelf import Place

if TYPE_CHECKING:
    from aiohttp import web

    from rfbulk.emulator.faults import Fault
    from rfbulk.emulator.service import Service


@dataclass(frozen=True, slots=True)
class DownloadApi:
    """The handler of download URLs."""

    service: Service

    async def download(self, request: web.Request) -> web.StreamResponse:
        """Send one file, or the range of it that was asked for."""
        check_signature(self.service, request)
        match = request.match_info
        place = Place(match["key"], int(match["offset"]), int(match["size"]))
        fault = request.get(BODY_FAULT_KEY)
        if fault is not None and fault.action == "changed":
            self.service.shelf.changed[place] += 1
        about = await self._describe(place, match["name"])
        return await self._answer(request, about, fault)

    async def _describe(self, place: Place, name: str) -> Description:
        options, shelf = self.service.options.downloads, self.service.shelf
        version = shelf.version(place)
        sums = None
        if options.needs_sums:
            sums = await shelf.sums(place, with_md5=options.needs_md5)
            is_here = sums is not None
        else:
            is_here = await shelf.read(Place(place.key, place.offset, min(place.size, 1))) is not None
        if not is_here:
            raise StoreError(404, "NoSuchKey", "The specified key does not exist.")
        return Description(place, name, version, sums, options)

    async def _answer(self, request: web.Request, about: Description, fault: Fault | None) -> web.StreamResponse:
        whole = about.place.size
        span = self._span(request, about)
        if fault is not None and fault.action == "ignore-range":
            span = None
        elif fault is not None and fault.action == "wrong-range" and span is not None:
            span = _another(span, whole)
        is_lying = fault is not None and fault.action == "wrong-hash"
        headers = about.headers(is_range=span is not None, is_lying=is_lying)
        if span is not None:
            headers["Content-Range"] = span.said(whole)
        body = Body(about.place, span or Span(0, whole), 200 if span is None else 206, headers, fault)
        return await send(self.service, request, body)

    def _span(self, request: web.Request, about: Description) -> Span | None:
        if not self.service.options.downloads.ranges:
            return None
        if not is_current(request.headers.get("If-Range"), about.etag, about.modified):
            return None
        try:
            return asked_span(request.headers.get("Range"), about.place.size)
        except UnsatisfiableError:
            size = (("Content-Range", f"bytes */{about.place.size}"),)
            raise StoreError(416, "InvalidRange", "The requested range cannot be satisfied.", size) from None


def _another(span: Span, whole: int) -> Span:
    """Return a range beside the one that was asked for, within the file."""
    if span.start:
        return Span(span.start - 1, max(span.end - 1, span.start))
    return Span(0, span.end - 1) if span.size > 1 else Span(0, min(whole, span.end + 1))
