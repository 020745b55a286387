"""A look inside for other processes on this machine: the ledger, the faults, the requests, and rest.

GET  /_emulator/ledger/{batch}   what a batch holds
GET  /_emulator/faults           the script and how far it is
POST /_emulator/faults           a JSON list of faults as the command line writes them
GET  /_emulator/requests         requests by operation, and the most at once
GET  /_emulator/settled          answers when everything stored has been indexed
GET  /_emulator/deliveries       every attempt to deliver a notification
POST /_emulator/job-scripts      a JSON list of objects that say how the next runs of jobs go
POST /_emulator/batches          makes a batch of given contents, or adds to one
DELETE /_emulator/batches/{batch} lets a batch be no more

    {"batchId": "b1", "parts": {"results": {"contentType": "metadata", "files": [
        {"name": "a.jsonl", "text": "{}"}, {"name": "b.bin", "base64": "AAE="},
        {"name": "large.bin", "size": 1000000, "seed": 7}, {"name": "c.tar.gz", "path": "/on/this/machine.tar.gz"}]}}}

Instead of `parts`, `files` makes a simple batch, or a sharded one if a file has a `shardId`.
"""

from __future__ import annotations

import ipaddress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import msgspec
import orjson

from rfbulk.emulator.adding import add_batch
from rfbulk.emulator.answers import ApiError, json_answer
from rfbulk.emulator.events import BatchRemoved
from rfbulk.emulator.jobs.options import JobScript
from rfbulk.emulator.ledger import read_ledger
from rfbulk.emulator.newbatch import read_new_batch

if TYPE_CHECKING:
    from aiohttp import web

    from rfbulk.emulator.service import Service
    from rfbulk.emulator.workers import Workers


@dataclass(frozen=True, slots=True)
class Admin:
    """The handlers; they serve this machine only."""

    service: Service
    workers: Workers

    async def ledger(self, request: web.Request) -> web.Response:
        """Tell what a batch holds."""
        _check_local(request)
        return json_answer(read_ledger(self.service.state.batches.get(request.match_info["batch_id"])).to_json())

    async def show_faults(self, request: web.Request) -> web.Response:
        """Tell which faults happened and which did not."""
        _check_local(request)
        consumed = [{**asdict(fault), "used": used} for fault, used in self.service.faults.consumed.items()]
        return json_answer({"consumed": consumed, "unconsumed": self.service.faults.unconsumed()})

    async def add_faults(self, request: web.Request) -> web.Response:
        """Add to the script."""
        _check_local(request)
        try:
            texts = orjson.loads(await request.read())
            self.service.faults.add(*[str(text) for text in texts])
        except (ValueError, TypeError) as error:
            raise ApiError(400, f"a JSON list of faults is wanted: {error}") from error
        return json_answer({"added": len(texts)})

    async def deliveries(self, request: web.Request) -> web.Response:
        """Tell how notifications fared."""
        _check_local(request)
        return json_answer({"deliveries": [asdict(each) for each in self.workers.notifier.deliveries]})

    async def script_jobs(self, request: web.Request) -> web.Response:
        """Say how the next runs of jobs go."""
        _check_local(request)
        try:
            scripts = msgspec.json.decode(await request.read(), type=list[JobScript])
        except ValueError as error:
            raise ApiError(400, f"a JSON list of scripts is wanted: {error}") from error
        self.service.job_scripts.extend(scripts)
        return json_answer({"added": len(scripts)})

    async def add_batch(self, request: web.Request) -> web.Response:
        """Make a batch, or add to one."""
        _check_local(request)
        try:
            new = read_new_batch(await request.content.read())
            await add_batch(self.service, new)
        except (ValueError, OSError) as error:
            raise ApiError(400, f"a batch to be made is wanted: {error}") from error
        return json_answer({"batchId": new.batch_id})

    async def remove_batch(self, request: web.Request) -> web.Response:
        """Let a batch be no more."""
        _check_local(request)
        await self.workers.settled()
        await self.service.record(BatchRemoved(request.match_info["batch_id"]))
        return json_answer({"removed": True})

    async def requests(self, request: web.Request) -> web.Response:
        """Tell how many requests came."""
        _check_local(request)
        traffic = self.service.traffic
        return json_answer(
            {"requests": dict(traffic.requests), "peaks": dict(traffic.peaks), "sentBytes": traffic.sent_bytes}
        )

    async def settled(self, request: web.Request) -> web.Response:
        """Answer when nothing is left to index."""
        _check_local(request)
        await self.workers.settled()
        return json_answer({"settled": True})


def _check_local(request: web.Request) -> None:
    if request.remote is None or not ipaddress.ip_address(request.remote).is_loopback:
        raise ApiError(403, "only this machine may look inside")
