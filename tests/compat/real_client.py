"""Roboflow's own client against the emulator: if it is content, the wire is right.

    python -m tests.compat.real_client

Makes `.venv-inference` in the project's folder, installs the client there, and runs its commands on an emulator in
this process. `RFBULK_INFERENCE` names an installed `inference` command to use instead. Exits 1 if a step fails.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from anyio.from_thread import start_blocking_portal

from rfbulk.emulator import Emulator, EmulatorOptions
from tests.compat.buckets import try_buckets
from tests.compat.client import Run, install_client, say
from tests.compat.exports import try_export
from tests.compat.ingests import try_ingests
from tests.compat.jobs import try_jobs
from tests.compat.roads import try_roads
from tests.compat.uploads import try_batch


def main() -> int:
    """Run every step; return the exit code."""
    client = install_client()
    with (
        tempfile.TemporaryDirectory() as folder,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Emulator(EmulatorOptions(page_size=100))) as emulator,
    ):
        run = Run(client, emulator, portal, Path(folder))
        try_batch(run, "of-20", 20, "simple-batch")
        try_batch(run, "of-700", 700, "sharded-batch")
        try_export(run)
        try_ingests(run)
        try_jobs(run)
        try_roads(run)
        try_buckets(run)
    say(f"{run.passed} passed, {len(run.failed)} failed")
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
