"""How far a cluster scales: until the line is the limit, or the coordinator, and where that is.

The coordinator is the real one: pipeline, checkpoint on disk, client of a real Dask scheduler in a process of its own.
Workers are real Dask workers whose lines are simulated, so that 64 of them fit on one machine. The service is a wait
of its round trip. What limits in the end is this machine's two cores, which coordinator, scheduler and all workers
share here and nowhere else: the limit that is found is below the true one.

    python benchmarks/cluster.py                 # the table, and build/cluster.svg
    python benchmarks/cluster.py --smoke
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import psutil  # type: ignore[import-untyped]  # it has no types

if __name__ == "__main__" and not __package__:  # started as a file: let its siblings be found by their full names
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.cluster_plot import plot_of
from rfbulk.cluster.link import open_link
from rfbulk.cluster.parcels import Kind, Manner
from rfbulk.cluster.probing import Sample
from rfbulk.cluster.sending import ClusterSender, new_run
from rfbulk.core.clusters import ClusterOptions
from rfbulk.core.model import BatchId, Entry, Grant, Refusal, RefusalReason
from rfbulk.core.retry import RetryPolicy
from rfbulk.core.secrets import SignedUrl
from rfbulk.core.wire import BatchMetadata, Page, RemoteFile, ShardStatus
from rfbulk.edge.checkpoint import Checkpoint, Identity, open_checkpoint
from rfbulk.edge.clock import SystemClock
from rfbulk.edge.known import KnownEntries
from rfbulk.edge.ways import ways_of
from rfbulk.events import Event, ShardSent, UploadProgress
from rfbulk.pipeline.ports import Ports
from rfbulk.pipeline.upload import UploadRequest, upload
from rfbulk.senders.inline import open_inline_sender
from rfbulk.settings import CHUNK_BYTES, UploadOptions

HOME = Path(__file__).resolve().parent
ROOT = HOME.parent
GRANT_SECONDS = 0.06
"""What a grant's request takes over a line of 50 ms round trips."""

LINE = 100_000_000
SITE = 1_250_000_000
RAMP_SECONDS = 4.0
FEWEST_AT_SITE = 8
AHEAD_IMAGES = 200_000
IN_A_PROCESS = 8
SCHEDULER = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show", "--scheduler-file")
WORKERS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class Images:
    """A data set: how large its images are on the average."""

    name: str
    size: int


SETS = (Images("130 KB", 130_000), Images("8 KB", 8_000))


@dataclass(slots=True)
class Measured:
    """One run. Rates are of the window behind the ramp."""

    images: str
    workers: int
    site_bytes_per_second: int
    bytes_per_second: float = 0.0
    images_per_second: float = 0.0
    shards_per_second: float = 0.0
    of_lines: float = 0.0
    coordinator_cores: float = 0.0
    scheduler_cores: float = 0.0
    workers_cores: float = 0.0
    coordinator_cpu_ms_per_shard: float = 0.0
    scheduler_cpu_ms_per_shard: float = 0.0
    checkpoint_bytes_per_image: float = 0.0
    coordinator_rss_mb: float = 0.0


@dataclass(slots=True)
class EndlessSource:
    """Images without end, which are nowhere. It keeps a little ahead of what is `sent`."""

    size: int
    sent: list[int]

    @property
    def roots(self) -> tuple[bytes, ...]:
        """One folder."""
        return (b"/simulated",)

    def scan(self) -> Iterator[_Group]:
        """Name them, five hundred at a time."""
        for number in range(0, 1 << 40, 500):
            while number > self.sent[1] + AHEAD_IMAGES:
                time.sleep(0.02)  # what is planned without being sent would be counted as the cost of what is sent
            yield _Group([self._entry(number + place) for place in range(500)])

    def _entry(self, number: int) -> Entry:
        path = b"camera-%03d/day-%04d/frame-%09d.jpg" % (number % 100, number // 100_000, number)
        name = path.decode().replace("/", "__")
        return Entry(0, path, name, self.size, 1_700_000_000_000_000_000 + number, number)

    def refresh(self, entry: Entry) -> Entry | tuple[RefusalReason, str]:
        """Nothing changes."""
        return entry


@dataclass(slots=True)
class _Group:
    entries: list[Entry]
    refusals: list[Refusal] = field(default_factory=list)


class WaitingService:
    """A service that grants after a round trip, and knows nothing else."""

    def __init__(self) -> None:
        self._number = 0

    async def request_shard_grant(self, batch: BatchId, display_name: str) -> Grant:  # noqa: ARG002 - as in ports
        """Grant."""
        await anyio.sleep(GRANT_SECONDS)
        self._number += 1
        url = f"https://store.example/bucket/{batch}/{self._number:032x}/shard.tar?X-Goog-Signature={'0' * 512}"
        return Grant(SignedUrl(url), {"x-goog-if-generation-match": "0"}, 1 << 30, None, once_only=True)

    async def request_video_grant(self, batch: BatchId, name: str, display_name: str) -> Grant:
        """Nobody asks."""
        raise NotImplementedError

    async def batch(self, batch: BatchId) -> BatchMetadata | None:  # noqa: ARG002
        """There is none yet."""
        return None

    async def count(self, batch: BatchId, part: str | None = None) -> int | None:  # noqa: ARG002
        """As above."""
        return None

    async def shards_page(
        self, batch: BatchId, token: str | None = None, page_size: int | None = None
    ) -> Page[ShardStatus]:
        """Nobody asks."""
        raise NotImplementedError

    async def files_page(
        self, batch: BatchId, part: str | None = None, token: str | None = None, page_size: int | None = None
    ) -> Page[RemoteFile]:
        """Nobody asks."""
        raise NotImplementedError

    def server_now(self) -> float:
        """The time."""
        return time.time()


@contextlib.contextmanager
def simulated_cluster(workers: int, site: int) -> Iterator[tuple[str, psutil.Process, list[psutil.Process]]]:
    """Start a scheduler and a process of workers; yield the address and all of them."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "500ms"}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        file = folder / "scheduler.json"
        scheduler = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_scheduler", *SCHEDULER, str(file)],
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        stack.callback(_end, scheduler)
        while not file.exists() or not file.read_text().endswith("}"):
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        crowds = []
        for first in range(0, workers, IN_A_PROCESS):
            count = min(IN_A_PROCESS, workers - first)
            crowds.append(_crowd(address, count, site * count // workers, environment))
            stack.callback(_end, crowds[-1])
        for crowd in crowds:
            if crowd.stdout is None or crowd.stdout.readline() != b"ready\n":
                raise SystemExit("the simulated workers did not start")
        yield address, psutil.Process(scheduler.pid), [psutil.Process(crowd.pid) for crowd in crowds]


def _crowd(address: str, count: int, site: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(HOME / "cluster_workers.py"), address, str(count), str(LINE), str(site)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


async def measure(images: Images, workers: int, site: int, seconds: float) -> Measured:
    """Upload for so long, and count behind the ramp."""
    result = Measured(images.name, workers, site)
    with simulated_cluster(workers, site) as (address, scheduler, crowds), tempfile.TemporaryDirectory() as folder:
        sent = [0, 0, 0]
        stop = anyio.Event()

        def on_event(event: Event) -> None:
            if isinstance(event, ShardSent):
                sent[0] += 1
                sent[1] += event.images
            elif isinstance(event, UploadProgress):
                sent[2] = event.bytes_on_the_wire

        async with (
            _ports(address, images, Path(folder), on_event, sent) as (ports, sender, checkpoint),
            anyio.create_task_group() as tasks,
        ):
            request = UploadRequest(
                batch=BatchId("simulated"),
                options=UploadOptions(wait=False, cluster=ClusterOptions(address), grace_seconds=0.1),
                policy=RetryPolicy(),
                trailer=b"",
                rename=None,
                stop=stop,
                most_at_once=sender.most_at_once,
                first_at_once=sender.first_at_once,
            )
            tasks.start_soon(partial(upload, ports, request))
            await anyio.sleep(RAMP_SECONDS)
            before, cpu, began = list(sent), _cpu(scheduler, crowds), time.monotonic()
            await anyio.sleep(seconds)
            after, cpu_after, elapsed = list(sent), _cpu(scheduler, crowds), time.monotonic() - began
            result.coordinator_rss_mb = psutil.Process().memory_info().rss / 1e6
            stop.set()
        shards, count, size = (last - first for first, last in zip(before, after, strict=True))
        own, of_scheduler, of_crowd = (last - first for first, last in zip(cpu, cpu_after, strict=True))
        result.bytes_per_second, result.images_per_second = size / elapsed, count / elapsed
        result.shards_per_second = shards / elapsed
        result.of_lines = result.bytes_per_second / min(LINE * workers, site or LINE * workers)
        result.coordinator_cores, result.scheduler_cores = own / elapsed, of_scheduler / elapsed
        result.workers_cores = of_crowd / elapsed
        result.coordinator_cpu_ms_per_shard = 1000 * own / max(1, shards)
        result.scheduler_cpu_ms_per_shard = 1000 * of_scheduler / max(1, shards)
        totals = await checkpoint
        result.checkpoint_bytes_per_image = totals
    return result


@asynccontextmanager
async def _ports(
    address: str, images: Images, folder: Path, on_event: object, sent: list[int]
) -> AsyncIterator[tuple[Ports, ClusterSender, asyncio.Future[float]]]:
    size: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    manner = Manner(new_run(), Kind.FILES, chunk_bytes=CHUNK_BYTES)
    identity = Identity("https://service.example", "w", "simulated", ("/simulated",))
    path = folder / "state"
    checkpoint_manager = open_checkpoint(path, identity)
    checkpoint: Checkpoint = await anyio.to_thread.run_sync(checkpoint_manager.__enter__)
    try:
        ways = ways_of({}, connect_seconds=10, ca_file=None)
        async with (
            open_inline_sender(ways, chunk_bytes=CHUNK_BYTES, stall_seconds=60, rate=None, most_at_once=1) as inline,
            open_link(ClusterOptions(address), Sample(manner), print, wait_seconds=60) as link,
        ):
            sender = ClusterSender(link, inline, ())

            @contextlib.contextmanager
            def known() -> Iterator[KnownEntries]:
                with closing(KnownEntries(checkpoint.read())) as found:
                    yield found

            ports = Ports(
                service=WaitingService(),
                sender=sender,
                source=EndlessSource(images.size, sent),
                checkpoint=checkpoint,
                known=known,
                clock=SystemClock(),
                tell=on_event,  # type: ignore[arg-type]  # takes any event
                reach=lambda _failpoint: None,
            )
            yield ports, sender, size
    finally:
        planned = sum((await checkpoint.totals()).images.values())
        await anyio.to_thread.run_sync(checkpoint_manager.__exit__, None, None, None)
        stored = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        size.set_result(stored / max(1, planned))


def _cpu(scheduler: psutil.Process, crowds: list[psutil.Process]) -> list[float]:
    of_crowds = sum(sum(crowd.cpu_times()[:2]) for crowd in crowds)
    return [time.process_time(), sum(scheduler.cpu_times()[:2]), of_crowds]


COLUMNS = ("images", "workers", "MB/s", "of the lines", "images/s", "shards/s", "coordinator", "scheduler")


def row_of(measured: Measured) -> tuple[str, ...]:
    """Return a run as the table shows it."""
    return (
        measured.images + (", one line of 10 Gbit/s" if measured.site_bytes_per_second else ""),
        str(measured.workers),
        f"{measured.bytes_per_second / 1e6:,.0f}",
        f"{measured.of_lines:.0%}",
        f"{measured.images_per_second:,.0f}",
        f"{measured.shards_per_second:,.1f}",
        f"{measured.coordinator_cores:.2f} cores, {measured.coordinator_cpu_ms_per_shard:.1f} ms a shard",
        f"{measured.scheduler_cores:.2f} cores, {measured.scheduler_cpu_ms_per_shard:.1f} ms a shard",
    )


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Print it as Markdown."""
    for row in (COLUMNS, tuple("---" for _ in COLUMNS), *rows):
        print("| " + " | ".join(row) + " |", flush=True)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="two small runs")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--workers", type=int, nargs="*", default=list(WORKERS))
    parser.add_argument("--results", type=Path, default=HOME / "build" / "cluster.jsonl")
    parser.add_argument("--plot", type=Path, default=HOME / "build" / "cluster.svg")
    arguments = parser.parse_args()
    large, small = SETS
    cases = [(large, count, 0) for count in arguments.workers]
    cases += [(large, count, SITE) for count in arguments.workers if count >= FEWEST_AT_SITE]
    cases += [(small, count, 0) for count in arguments.workers]
    if arguments.smoke:
        cases = [(large, 2, 0), (small, 2, 0)]
    measured = []
    print_table([])
    for images, count, site in cases:
        measured.append(asyncio.run(measure(images, count, site, 3.0 if arguments.smoke else arguments.seconds)))
        print("| " + " | ".join(row_of(measured[-1])) + " |", flush=True)
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    with arguments.results.open("a") as file:
        file.writelines(json.dumps(asdict(each)) + "\n" for each in measured)
    curves: dict[str, list[tuple[int, float]]] = {}
    for each in measured:
        curves.setdefault(row_of(each)[0], []).append((each.workers, each.bytes_per_second / 1e6))
    arguments.plot.write_text(plot_of(curves, line=LINE / 1e6))
    print(f"\nplot: {arguments.plot}, results: {arguments.results}")


if __name__ == "__main__":
    main()
