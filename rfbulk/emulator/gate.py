"""What stands before every handler: the count of requests, scripted faults, the api key, the language of errors."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from rfbulk.emulator.answers import ApiError, StoreError, error_answer, store_error_answer
from rfbulk.emulator.injection import inject

if TYPE_CHECKING:
    from aiohttp import web

    from rfbulk.emulator.faults import Operation
    from rfbulk.emulator.injection import Handler
    from rfbulk.emulator.service import Service


@dataclass(frozen=True, slots=True)
class Gate:
    """Stands before the handlers of the service: counts requests, meets them with faults, asks for the api key."""

    service: Service

    def api(self, operation: Operation, handler: Handler) -> Handler:
        """Surround a handler of the API."""

        async def authorised(request: web.Request) -> web.StreamResponse:
            self._authorise(request)
            return await handler(request)

        return self._guard(operation, speak_json(authorised))

    def store(self, operation: Operation, handler: Handler) -> Handler:
        """Surround a handler of the store, which asks for signatures itself."""
        return self._guard(operation, _speak_xml(handler))

    def _guard(self, operation: Operation, handler: Handler) -> Handler:
        async def serve(request: web.Request) -> web.StreamResponse:
            with self.service.traffic.passing(operation):
                asks_range = "Range" in request.headers
                fault = self.service.faults.take(operation, request.raw_path, asks_range=asks_range)
                await anyio.sleep(self.service.options.latency_seconds)
                return await (handler(request) if fault is None else inject(fault, request, handler))

        return serve

    def _authorise(self, request: web.Request) -> None:
        given = request.query.get("api_key", "").encode()
        if not hmac.compare_digest(given, self.service.options.api_key.encode()):
            raise ApiError(401, "Unauthorized: the api key is missing or wrong")
        if request.match_info.get("workspace", self.service.options.workspace) != self.service.options.workspace:
            raise ApiError(403, "the api key is not of this workspace")


def speak_json(handler: Handler) -> Handler:
    """Let a handler's refusals be answered as the API does."""

    async def serve(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as error:
            return error_answer(error)

    return serve


def _speak_xml(handler: Handler) -> Handler:
    async def serve(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except StoreError as error:
            return store_error_answer(error)

    return serve
