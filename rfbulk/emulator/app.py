"""Which path leads to which handler, and what surrounds every one of them: faults, the api key, errors, the clock."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING

import anyio
from aiohttp import web

from rfbulk.emulator.admin import Admin
from rfbulk.emulator.answers import ApiError, StoreError, error_answer, store_error_answer
from rfbulk.emulator.injection import inject
from rfbulk.emulator.receiving import StorageApi
from rfbulk.emulator.service import STORAGE_PREFIX
from rfbulk.emulator.simple import SimpleApi
from rfbulk.emulator.staging import StagingApi

if TYPE_CHECKING:
    from rfbulk.emulator.faults import Operation
    from rfbulk.emulator.indexing import Indexer
    from rfbulk.emulator.injection import Handler
    from rfbulk.emulator.service import Service

_BATCHES = "/data-staging/v1/external/{workspace}/batches"
_BATCH = _BATCHES + "/{batch_id}"


def make_app(service: Service, indexer: Indexer) -> web.Application:
    """Return the application; it serves as long as the indexer's task group runs."""
    app = web.Application(client_max_size=1024 * 1024, middlewares=[_refuse_unknown])
    gate = _Gate(service)
    _add_api(app.router, gate, StagingApi(service), SimpleApi(service))
    _add_storage(app.router, gate, StorageApi(service, indexer), service.identity.bucket)
    _add_admin(app.router, Admin(service, indexer))

    async def set_date(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = formatdate(service.clock.now(), usegmt=True)

    app.on_response_prepare.append(set_date)
    return app


def _add_api(router: web.UrlDispatcher, gate: _Gate, staging: StagingApi, simple: SimpleApi) -> None:
    router.add_get("/", gate.api("workspace", staging.workspace))
    router.add_get(_BATCHES, gate.api("batches", staging.list_batches))
    router.add_get(_BATCH, gate.api("batch", staging.batch))
    router.add_get(_BATCH + "/count", gate.api("count", staging.count))
    router.add_get(_BATCH + "/shards", gate.api("shards", staging.shards))
    router.add_get(_BATCH + "/list", gate.api("list", staging.list_files))
    router.add_get(_BATCH + "/parts", gate.api("parts", staging.parts))
    router.add_post(_BATCH + "/bulk-upload/image-files", gate.api("grant", staging.grant_shard))
    router.add_post(_BATCH + "/upload/image", gate.api("image", simple.image))
    router.add_post(_BATCH + "/upload/video", gate.api("video", staging.grant_video))


def _add_storage(router: web.UrlDispatcher, gate: _Gate, storage: StorageApi, bucket: str) -> None:
    root = f"{STORAGE_PREFIX}/{bucket}"
    router.add_put(root + "/{object_name:uploads/.+}", gate.store("put", storage.put))
    path = root + r"/files/{key}/{offset:\d+}/{size:\d+}/{name}"
    router.add_get(path, gate.store("download", storage.download), allow_head=False)


def _add_admin(router: web.UrlDispatcher, admin: Admin) -> None:
    router.add_get("/_emulator/ledger/{batch_id}", _speak_json(admin.ledger))
    router.add_get("/_emulator/faults", _speak_json(admin.show_faults))
    router.add_post("/_emulator/faults", _speak_json(admin.add_faults))
    router.add_get("/_emulator/requests", _speak_json(admin.requests))
    router.add_get("/_emulator/settled", _speak_json(admin.settled))


@dataclass(frozen=True, slots=True)
class _Gate:
    """Stands before the handlers of the service: counts requests, meets them with faults, asks for the api key."""

    service: Service

    def api(self, operation: Operation, handler: Handler) -> Handler:
        async def authorised(request: web.Request) -> web.StreamResponse:
            self._authorise(request)
            return await handler(request)

        return self._guard(operation, _speak_json(authorised))

    def store(self, operation: Operation, handler: Handler) -> Handler:
        return self._guard(operation, _speak_xml(handler))

    def _guard(self, operation: Operation, handler: Handler) -> Handler:
        async def serve(request: web.Request) -> web.StreamResponse:
            with self.service.traffic.passing(operation):
                fault = self.service.faults.take(operation, request.raw_path)
                await anyio.sleep(self.service.options.latency_seconds)
                return await (handler(request) if fault is None else inject(fault, request, handler))

        return serve

    def _authorise(self, request: web.Request) -> None:
        given = request.query.get("api_key", "").encode()
        if not hmac.compare_digest(given, self.service.options.api_key.encode()):
            raise ApiError(401, "Unauthorized: the api key is missing or wrong")
        if request.match_info.get("workspace", self.service.options.workspace) != self.service.options.workspace:
            raise ApiError(403, "the api key is not of this workspace")


def _speak_json(handler: Handler) -> Handler:
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


@web.middleware
async def _refuse_unknown(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        if request.path.startswith(STORAGE_PREFIX):
            return store_error_answer(StoreError(error.status, "NoSuchKey", error.reason))
        return error_answer(ApiError(error.status, f"{request.method} {request.path}: {error.reason}"))
