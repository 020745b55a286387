"""What a look at a cluster came to."""

from __future__ import annotations

import msgspec

MAX_CLOCK_SECONDS = 60.0
"""A clock beyond this breaks certificates, and signatures of buckets."""


class WorkerReport(msgspec.Struct):
    """One worker. `faults` are why it would get no work; `clock_seconds` how far its clock is ahead of ours."""

    address: str
    threads: int
    host: str = ""
    versions: dict[str, str] = {}
    looked_at: int = 0
    other_inodes: bool = False
    clock_seconds: float | None = None
    clock_within: float = 0.0
    bytes_per_second: float | None = None
    faults: list[str] = []


class ClusterReport(msgspec.Struct):
    """A cluster. `here` are the coordinator's versions, `warnings` what is odd and hinders nothing."""

    address: str
    here: dict[str, str] = {}
    workers: list[WorkerReport] = []
    together_bytes_per_second: float | None = None
    warnings: list[str] = []

    @property
    def fit(self) -> int:
        """How many workers would get work."""
        return sum(not worker.faults for worker in self.workers)

    @property
    def threads(self) -> int:
        """How many shards those send at once."""
        return sum(worker.threads for worker in self.workers if not worker.faults)

    def find_oddities(self) -> list[str]:
        """Tell what is odd: other versions, other clocks, lines that are one."""
        found = []
        for worker in self.workers:
            name = worker.host or worker.address
            for library, here in self.here.items():
                there = worker.versions.get(library)
                if there and there != here and library != "rfbulk":
                    found.append(f"{name} has {library} {there}, here is {here}")
            if worker.clock_seconds is not None and abs(worker.clock_seconds) > MAX_CLOCK_SECONDS:
                way = "ahead" if worker.clock_seconds > 0 else "behind"
                found.append(f"the clock of {name} is {abs(worker.clock_seconds):.0f} s {way}")
            if worker.other_inodes:
                found.append(f"{name} numbers files otherwise (inodes): each is looked at once more before it is sent")
        alone = sum(worker.bytes_per_second or 0.0 for worker in self.workers)
        if self.together_bytes_per_second is not None and self.together_bytes_per_second < alone / 2:
            found.append("together the workers reach less than half of what each reaches alone: they share one line")
        return sorted(set(found), key=found.index)
