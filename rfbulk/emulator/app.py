"""Which path leads to which handler, and what every answer has: a date, and errors in the right language."""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING

from aiohttp import web

from rfbulk.emulator.admin import Admin
from rfbulk.emulator.answers import ApiError, StoreError, error_answer, store_error_answer
from rfbulk.emulator.catalog import CatalogApi
from rfbulk.emulator.downloads import DownloadApi
from rfbulk.emulator.gate import Gate, speak_json
from rfbulk.emulator.ingests.api import IngestApi
from rfbulk.emulator.jobs.api import JobsApi
from rfbulk.emulator.receiving import StorageApi
from rfbulk.emulator.service import STORAGE_PREFIX
from rfbulk.emulator.simple import SimpleApi
from rfbulk.emulator.staging import StagingApi

if TYPE_CHECKING:
    from rfbulk.emulator.indexing import Indexer
    from rfbulk.emulator.injection import Handler
    from rfbulk.emulator.service import Service
    from rfbulk.emulator.workers import Workers

_BATCHES = "/data-staging/v1/external/{workspace}/batches"
_BATCH = _BATCHES + "/{batch_id}"
_JOBS = "/batch-processing/v1/external/{workspace}/jobs"
_JOB = _JOBS + "/{job_id}"


def make_app(service: Service, workers: Workers) -> web.Application:
    """Return the application; it serves as long as the task group of the workers does."""
    app = web.Application(client_max_size=1024 * 1024, middlewares=[_refuse_unknown])
    gate = Gate(service)
    _add_staging(app.router, gate, service)
    _add_ingests(app.router, gate, IngestApi(service, workers.ingester))
    _add_jobs(app.router, gate, JobsApi(service, workers.runner))
    _add_storage(app.router, gate, service, workers.indexer)
    _add_admin(app.router, Admin(service, workers))

    async def set_date(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = formatdate(service.clock.now(), usegmt=True)

    app.on_response_prepare.append(set_date)
    return app


def _add_staging(router: web.UrlDispatcher, gate: Gate, service: Service) -> None:
    staging, catalog, simple = StagingApi(service), CatalogApi(service), SimpleApi(service)
    router.add_get("/", gate.api("workspace", staging.workspace))
    router.add_get(_BATCHES, gate.api("batches", staging.list_batches))
    router.add_get(_BATCH, gate.api("batch", staging.batch))
    router.add_get(_BATCH + "/count", gate.api("count", catalog.count))
    router.add_get(_BATCH + "/shards", gate.api("shards", staging.shards))
    router.add_get(_BATCH + "/list", gate.api("list", catalog.list_files))
    router.add_get(_BATCH + "/parts", gate.api("parts", catalog.parts))
    router.add_post(_BATCH + "/bulk-upload/image-files", gate.api("grant", staging.grant_shard))
    router.add_post(_BATCH + "/upload/image", gate.api("image", simple.image))
    router.add_post(_BATCH + "/upload/video", gate.api("video", staging.grant_video))


def _add_ingests(router: web.UrlDispatcher, gate: Gate, ingests: IngestApi) -> None:
    router.add_post(_BATCH + "/bulk-upload/image-references", gate.api("references", ingests.images))
    router.add_post(_BATCH + "/bulk-upload/video-references", gate.api("references", ingests.videos))
    router.add_post(_BATCH + "/roboql-ingest", gate.api("roboql", ingests.roboql))


def _add_jobs(router: web.UrlDispatcher, gate: Gate, jobs: JobsApi) -> None:
    router.add_get(_JOBS, gate.api("jobs", jobs.list_jobs))
    router.add_get(_JOB, gate.api("job", jobs.show))
    router.add_post(_JOB, gate.api("start", jobs.start))
    router.add_get(_JOB + "/stages", gate.api("stages", jobs.stages))
    router.add_get(_JOB + "/stages/{stage_id}/tasks", gate.api("tasks", jobs.tasks))
    router.add_get(_JOB + "/logs", gate.api("logs", jobs.logs))
    router.add_post(_JOB + "/abort", gate.api("abort", jobs.abort))
    router.add_post(_JOB + "/restart", gate.api("restart", jobs.restart))


def _add_storage(router: web.UrlDispatcher, gate: Gate, service: Service, indexer: Indexer) -> None:
    root = f"{STORAGE_PREFIX}/{service.identity.bucket}"
    router.add_put(root + "/{object_name:uploads/.+}", gate.store("put", StorageApi(service, indexer).put))
    download = gate.store("download", DownloadApi(service).download)
    path = root + r"/files/{key}/{offset:\d+}/{size:\d+}/{name:.+}"
    router.add_get(path, download, allow_head=False)
    router.add_head(path, download)


def _add_admin(router: web.UrlDispatcher, admin: Admin) -> None:
    router.add_get("/_emulator/ledger/{batch_id}", speak_json(admin.ledger))
    router.add_get("/_emulator/faults", speak_json(admin.show_faults))
    router.add_post("/_emulator/faults", speak_json(admin.add_faults))
    router.add_get("/_emulator/requests", speak_json(admin.requests))
    router.add_get("/_emulator/settled", speak_json(admin.settled))
    router.add_get("/_emulator/deliveries", speak_json(admin.deliveries))
    router.add_post("/_emulator/job-scripts", speak_json(admin.script_jobs))
    router.add_post("/_emulator/batches", speak_json(admin.add_batch))
    router.add_delete("/_emulator/batches/{batch_id}", speak_json(admin.remove_batch))


@web.middleware
async def _refuse_unknown(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ConnectionError:
        return web.Response(status=499)  # the client is gone in the middle of its request: nobody hears this
    except web.HTTPException as error:
        if request.path.startswith(STORAGE_PREFIX):
            return store_error_answer(StoreError(error.status, "NoSuchKey", error.reason))
        return error_answer(ApiError(error.status, f"{request.method} {request.path}: {error.reason}"))
