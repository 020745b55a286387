"""What tests of jobs share: images, bodies, calls, and the reading of what a job left."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
from yarl import URL

from rfbulk.emulator.images import sample_image

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.emulator.conftest import JSON, Answer, Peer

IMAGES = {f"{number:02}.png": sample_image(number) for number in range(7)}
HASHES = Counter(hashlib.sha256(content).hexdigest() for content in IMAGES.values())


def body(batch_id: str = "b1", kind: str = "image", **changes: Any) -> dict[str, Any]:
    """Return the body that starts a job; changes go to the specification if they are of it."""
    specification = {"type": "workflows-processing-specification-v1", "workspace": "emulator", "workflowId": "w1"}
    outer = {"maxParallelTasks", "maxImageFailureRate", "processingTimeoutSeconds", "notificationsURL"}
    return {
        "type": f"simple-{kind}-processing-v1",
        "jobInput": {"type": "staging-batch-input-v1", "batchId": batch_id, **changes.pop("jobInput", {})},
        "computeConfiguration": {"type": "compute-configuration-v2"},
        "processingSpecification": {**specification, **{k: v for k, v in changes.items() if k not in outer}},
        **{k: v for k, v in changes.items() if k in outer},
    }


async def call(peer: Peer, method: str, path: str, json: Any = None, **query: str) -> Answer:
    url = f"{peer.emulator.url}/batch-processing/v1/external/emulator/jobs{path}"
    arguments = {} if json is None else {"json": json}
    return await peer.send(method, url, params={"api_key": "emulator", **query}, **arguments)


async def show(peer: Peer, job_id: str = "j1") -> JSON:
    return (await call(peer, "GET", f"/{job_id}")).json["job"]


async def stages(peer: Peer, job_id: str = "j1") -> list[JSON]:
    found: list[JSON] = (await call(peer, "GET", f"/{job_id}/stages")).json["stages"]
    return found


async def run(peer: Peer, asked: Any, job_id: str = "j1") -> list[JSON]:
    """Run a job to its end and return its stages."""
    answer = await call(peer, "POST", f"/{job_id}", asked)
    assert answer.status == 200, answer.body
    await peer.emulator.jobs_settled()
    return await stages(peer, job_id)


async def part_of(peer: Peer, batch_id: str, part: str) -> dict[str, bytes]:
    """Download a whole part."""
    peer.batch_id = batch_id
    rows = (await peer.get("/list", partName=part)).json["filesMetadata"]
    return {row["fileName"]: (await peer.send("GET", URL(row["downloadURL"], encoded=True))).body for row in rows}


def rows_of(tables: Mapping[str, bytes]) -> list[JSON]:
    return [orjson.loads(line) for table in tables.values() for line in table.splitlines()]
