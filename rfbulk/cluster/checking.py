"""A look at a whole cluster: who is there, what each worker sees of the source, its clock, and how fast its line is."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from rfbulk.cluster import probing
from rfbulk.cluster.dask_client import ClusterLost, DaskClient, TaskLost
from rfbulk.cluster.judging import sample_parcel, why_silent, why_unfit
from rfbulk.cluster.measuring import Measure, Measured, measure
from rfbulk.cluster.parcels import Parcel, encode
from rfbulk.cluster.probing import Sample, Seen
from rfbulk.core.cluster_report import ClusterReport, WorkerReport
from rfbulk.errors import TroublePassing, UsageError

if TYPE_CHECKING:
    from rfbulk.core.model import Grant

AskGrant: TypeAlias = "Callable[[], Awaitable[Grant]]"
JOIN_SECONDS: Final = 1.0
"""Without a change for so long, whoever was to join has joined."""

MEASURE_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Speed:
    """How lines are to be measured: how many bytes each worker sends, and whence the permission comes."""

    size: int
    grant: AskGrant


async def check(
    client: DaskClient, address: str, sample: Sample, *, wait_seconds: float, speed: Speed | None
) -> ClusterReport:
    """Ask every worker, and measure its line if that is wanted: each alone, then all of them together.

    Raises:
        TroublePassing: the scheduler is lost, or nobody has joined it within `wait_seconds`.
    """
    try:
        threads = await _joined(client, wait_seconds)
        report = ClusterReport(address=address, here=probing.versions())
        said = await client.call(probing.probe, sample_parcel(sample), workers=list(threads))
        for worker in sorted(threads):
            report.workers.append(_seen(worker, threads[worker], said.get(worker)))
            if not report.workers[-1].faults:
                await _compare_clock(client, report.workers[-1])
        if speed is not None:
            await _measure(client, report, sample, speed)
    except ClusterLost as lost:
        raise TroublePassing("check", f"the cluster at {address}", cause=str(lost), advice="try again") from None
    return report


async def _joined(client: DaskClient, wait_seconds: float) -> dict[str, int]:
    began = time.monotonic()
    threads: dict[str, int] = {}
    changed = began
    while time.monotonic() - (changed if threads else began) < (JOIN_SECONDS if threads else wait_seconds):
        now = await client.workers()
        if now != threads:
            threads, changed = now, time.monotonic()
        await asyncio.sleep(0.1)
    if not threads:
        cause = f"after {wait_seconds:g} s no worker has joined it"
        raise TroublePassing("check", "the cluster", cause=cause, advice="start workers")
    return threads


def _seen(address: str, threads: int, answer: object) -> WorkerReport:
    if not isinstance(answer, bytes):
        return WorkerReport(address, threads, faults=[why_silent(answer)])
    seen = msgspec.msgpack.decode(answer, type=Seen)
    unfit = why_unfit(seen)
    return WorkerReport(
        address,
        threads,
        host=seen.host,
        versions=seen.versions,
        looked_at=seen.looked_at,
        other_inodes=seen.other_inodes,
        faults=list(seen.faults) or ([unfit] if unfit else []),
    )


async def _compare_clock(client: DaskClient, worker: WorkerReport) -> None:
    """The way there and back takes some milliseconds: that is how exactly it can be known."""
    began = time.time()
    said = (await client.call(probing.clock, workers=[worker.address])).get(worker.address)
    ended = time.time()
    if isinstance(said, float):
        worker.clock_seconds = said - (began + ended) / 2
        worker.clock_within = (ended - began) / 2


async def _measure(client: DaskClient, report: ClusterReport, sample: Sample, speed: Speed) -> None:
    fit = [worker for worker in report.workers if not worker.faults]
    for worker in fit:
        (measured,) = await _measured(client, [worker], sample, speed)
        if measured.fault:
            worker.faults.append(f"its line: {measured.fault}")
        else:
            worker.bytes_per_second = measured.size / max(measured.seconds, 1e-6)
    fit = [worker for worker in fit if not worker.faults]
    if len(fit) > 1:
        together = [each for each in await _measured(client, fit, sample, speed) if not each.fault]
        slowest = max((each.seconds for each in together), default=1.0)
        report.together_bytes_per_second = sum(each.size for each in together) / max(slowest, 1e-6)


async def _measured(
    client: DaskClient, workers: Sequence[WorkerReport], sample: Sample, speed: Speed
) -> list[Measured]:
    numbers = itertools.count()
    tasks = []
    for worker in workers:
        grant = await speed.grant()
        task = f"rfbulk-{sample.manner.run}-line-{next(numbers)}-{time.monotonic_ns()}"
        parcel = Parcel(encode(Measure(sample.manner, grant, speed.size, task)), task)
        tasks.append(client.submit(measure, parcel, task, worker.address))
    return [await _answered(client, task) for task in tasks]


async def _answered(client: DaskClient, task: object) -> Measured:
    try:
        body = await asyncio.wait_for(client.result(task), MEASURE_SECONDS)
    except (TaskLost, UsageError, TimeoutError) as error:
        return Measured(0, 0.0, str(error) or "it took too long")
    return msgspec.msgpack.decode(body, type=Measured)
