"""A real Dask cluster of processes, started as its users do, whose every part can be killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Part:
    """One process, and what it has said."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.process.pid, number)
        if number is signal.SIGKILL:
            self.process.wait(10)

    def said(self) -> str:
        return self.log.read_text(errors="replace")


@dataclass
class RealCluster:
    """A scheduler and workers. Nothing of this process's environment but where programs are reaches them."""

    folder: Path
    tls: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    scheduler: Part | None = None
    workers: list[Part] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{'tls' if self.tls else 'tcp'}://127.0.0.1:{self.port}"

    def start_scheduler(self) -> Part:
        self.port = self.port or free_port()
        address = ["--host", "tls://127.0.0.1" if self.tls else "127.0.0.1", "--port", str(self.port)]
        self.scheduler = self._start("dask_scheduler", *address, "--no-dashboard", "--no-show")
        self._wait_for(self.scheduler, "Scheduler at:")
        return self.scheduler

    def start_worker(self, *more: str) -> Part:
        options = ["--nthreads", "2", "--no-nanny", "--no-dashboard", "--memory-limit", "0", "--death-timeout", "20"]
        worker = self._start("dask_worker", self.address, *options, *more)
        self._wait_for(worker, "Registered to:")
        self.workers.append(worker)
        return worker

    def said(self) -> str:
        return "\n".join(part.said() for part in self.parts)

    def end(self) -> None:
        for part in self.parts:
            if part.process.poll() is None:
                part.process.kill()
                part.process.wait(10)

    def _start(self, program: str, *arguments: str) -> Part:
        log = self.folder / f"{program}-{len(self.parts)}.log"
        values = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "DASK_LOGGING__DISTRIBUTED": "debug"}
        values |= {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s", "PYTHONPATH": os.pathsep.join(sys.path)}
        values |= self.environment
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{program}", *arguments, *self.tls],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=values,
                cwd=self.folder,
                start_new_session=True,
            )
        part = Part(process, log)
        self.parts.append(part)
        return part

    def _wait_for(self, part: Part, text: str) -> None:
        ends_at = time.monotonic() + 60
        while text not in part.said():
            assert part.process.poll() is None, part.said()
            assert time.monotonic() < ends_at, part.said()
            time.sleep(0.02)


@contextmanager
def real_cluster(
    folder: Path, workers: int, *, tls: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[RealCluster]:
    """Start a cluster, and end all of it with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = RealCluster(folder, tls, environment or {})
    try:
        cluster.start_scheduler()
        for _ in range(workers):
            cluster.start_worker()
        yield cluster
    finally:
        cluster.end()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
