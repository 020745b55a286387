"""Ask what an upload costs over TLS, which every real signed URL speaks: against blocking sockets in two threads.

The store's port speaks TLS 1.3 with a certificate made for this run; the service itself is asked over plain HTTP, by
both. Encrypting takes most of the time, and the same library does it for both: what differs is the product's own work.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import trustme

from benchmarks import threads
from benchmarks.bench import Goal, Outcome, Scenario, Table
from benchmarks.contenders import RFBULK, RIVAL, Contender, Job, rfbulk, rfbulk_environment
from benchmarks.datasets import NORMAL, prepare
from benchmarks.figures import cpu, named, peak, ratio, rows, spread
from benchmarks.process import Command
from benchmarks.servers import CannotCompile
from benchmarks.sink import Certificate
from benchmarks.upload import record
from benchmarks.uploading import play_uploads

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.datasets import DataSet
    from benchmarks.rounds import Series
    from benchmarks.sink import Stats

THREADS = "blocking threads"
CPU_OF_THREADS = (1.3, 1.1)
COLUMNS = ("", "wall s", "spread", "MB/s", "CPU s/GB", "peak MB", "CPU / threads", "wall / threads")


def run(bench: Bench) -> Outcome:
    """Upload normal images by both, in turns."""
    data = prepare(NORMAL, bench)
    with tempfile.TemporaryDirectory(prefix="bench-tls-") as folder:
        certificate = _certificate(Path(folder))
        mine = rfbulk(bench)
        if isinstance(mine, str):
            return Outcome(skipped=(mine,))
        entrants = [_trusting(mine, certificate), _threads(bench, certificate)]
        try:
            series = play_uploads(entrants, data, rounds=bench.rounds, build=bench.build, certificate=certificate)
        except CannotCompile as reason:
            return Outcome(skipped=(f"upload over TLS: {reason} (libssl-dev has its headers)",))
    return _outcome(series, data, bench)


def _outcome(series: list[Series[Stats]], data: DataSet, bench: Bench) -> Outcome:
    mine, theirs = named(RFBULK, series), named(THREADS, series)
    size = f"{data.files:,} files, {data.total_bytes / 1e9:.2f} GB"
    title = f"upload a over TLS: {size}, {bench.rounds} rounds"
    goals = (
        [Goal("client CPU of blocking threads'", mine.cpu_seconds / theirs.cpu_seconds, *CPU_OF_THREADS)]
        if mine and theirs
        else []
    )
    return Outcome(
        subject=f"{size}; the limit is blocking threads of Python",
        rows=rows(series, data.total_bytes, rival=RIVAL, limit=THREADS),
        tables=(Table(title, COLUMNS, tuple(_row(each, theirs, data) for each in series)),),
        results=tuple(record(each, data) for each in series),
        goals=tuple(goals),
        problems=tuple(problem for each in series for problem in each.problems),
    )


def _row(mine: Series[Stats], theirs: Series[Stats] | None, data: DataSet) -> tuple[str, ...]:
    return (
        mine.name,
        f"{mine.wall_seconds:.2f}",
        spread(mine),
        f"{data.total_bytes / 1e6 / mine.wall_seconds:.0f}",
        f"{mine.cpu_seconds / data.total_bytes * 1e9:.2f}",
        f"{peak(mine) / 1e6:.0f}",
        ratio(cpu, mine, theirs),
        ratio(lambda each: each.wall_seconds, mine, theirs),
    )


def _certificate(folder: Path) -> Certificate:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    made = Certificate(folder / "chain.pem", folder / "key.pem", folder / "authority.pem")
    made.chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(made.key))
    authority.cert_pem.write_to_path(str(made.authority))
    return made


def _trusting(mine: Contender, certificate: Certificate) -> Contender:
    def command(job: Job) -> Command:
        plain = mine.command(job)
        return Command(plain.arguments, {**plain.environment, "SSL_CERT_FILE": str(certificate.authority)})

    return Contender(mine.name, command, mine.start_command)


def _threads(bench: Bench, certificate: Certificate) -> Contender:
    def command(job: Job) -> Command:
        program = (str(bench.python), str(Path(threads.__file__)))
        return Command(
            (*program, str(job.folder), job.url, job.batch, str(certificate.authority)), rfbulk_environment(job)
        )

    return Contender(THREADS, command)


SCENARIOS = (Scenario("upload-tls", "normal images over TLS, beside blocking sockets in threads", run),)
