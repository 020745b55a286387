"""Roboflow's own client against the emulator: if it is content, the wire is right.

Makes `.venv-inference` in the project's folder, installs the client there, and runs its commands on an emulator in
this process. `RFBULK_INFERENCE` names an installed `inference` command to use instead. Exits 1 if a step fails.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from anyio.from_thread import start_blocking_portal

from rfbulk.emulator import Emulator, EmulatorOptions
from rfbulk.emulator.images import write_images

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.from_thread import BlockingPortal

CLIENT = "inference-cli==1.8.3"
PROJECT = Path(__file__).resolve().parents[2]
ENVIRONMENT = PROJECT / ".venv-inference"
COMMAND_SECONDS = 300


@dataclass
class Run:
    """The client, the emulator that it is pointed at, and the count of what was checked."""

    client: Path
    emulator: Emulator
    portal: BlockingPortal
    folder: Path
    passed: int = 0
    failed: list[str] = field(default_factory=list)

    def step(self, title: str, check: Callable[[], None]) -> None:
        """Check one thing and say how it went."""
        try:
            check()
        except (AssertionError, KeyError, OSError, ValueError, subprocess.TimeoutExpired) as error:
            self.failed.append(title)
            say(f"FAILED  {title}: {error}")
        else:
            self.passed += 1
            say(f"passed  {title}")

    def command(self, *arguments: str) -> str:
        """Run a data-staging command of the client and return what it printed."""
        finished = subprocess.run(
            [self.client, "rf-cloud", "data-staging", *arguments],
            env=client_environment(self.emulator),
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
        output = finished.stdout + finished.stderr
        assert finished.returncode == 0, f"exit {finished.returncode}: {output[-2000:]}"
        return finished.stdout

    def records(self, command: str, batch_id: str) -> list[dict[str, object]]:
        """Run a listing command and return the lines of the file that it writes."""
        path = self.folder / f"{command}-{batch_id}.jsonl"
        self.command(command, "--batch-id", batch_id, "--output-file", str(path))
        return [json.loads(line) for line in path.read_text().splitlines()]


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a script tells how far it is


def client_environment(emulator: Emulator) -> dict[str, str]:
    """Point the client at the emulator, and make its tables wide enough to read."""
    return {
        **os.environ,
        "API_BASE_URL": emulator.url,
        "ROBOFLOW_API_KEY": emulator.api_key,
        "TELEMETRY_OPT_OUT": "True",
        "COLUMNS": "200",
        "NO_PROXY": "127.0.0.1",
    }


def install_client() -> Path:
    """Return the client's command, installed in an environment of its own unless one is named."""
    given = os.environ.get("RFBULK_INFERENCE")
    if given:
        return Path(given)
    command = ENVIRONMENT / "bin" / "inference"
    if not command.exists():
        say(f"installing {CLIENT} in {ENVIRONMENT.name}")
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, CLIENT], check=True)
    return command


def flat_images(folder: Path, count: int, seed: int) -> Counter[str]:
    """Write images into one folder, since the client looks into no other; return how often each hash is there."""
    nested = folder.with_name(f"{folder.name}-nested")
    write_images(nested, count, seed)
    folder.mkdir()
    for number, path in enumerate(sorted(nested.rglob("*.png"))):
        path.rename(folder / f"{number:04}-{path.name}")
    return Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir())


def try_batch(run: Run, batch_id: str, count: int, kind: str) -> None:
    """Let the client make a batch and look at it in every way it knows."""
    images = run.folder / batch_id
    hashes = flat_images(images, count, seed=count)
    names = Counter(path.name for path in images.iterdir())
    expected_shards = 0 if kind == "simple-batch" else -(-count // 256)

    def create() -> None:
        run.command("create-batch-of-images", "--batch-id", batch_id, "--images-dir", str(images))
        run.portal.call(run.emulator.settled)

    def every_image_arrived_once() -> None:
        ledger = run.emulator.ledger(batch_id)
        assert hashes == ledger.hashes, "the hashes differ"
        assert names == ledger.names, "the names differ"
        assert (ledger.failed, ledger.granted, ledger.stored) == ({}, expected_shards, expected_shards or count)

    def show_details() -> None:
        output = run.command("show-batch-details", "--batch-id", batch_id)
        assert kind in output, output
        assert re.search(rf"Files Count\W+{count}\b", output), output

    def list_batches() -> None:
        assert batch_id in run.command("list-batches")

    def list_content() -> None:
        listed = run.records("list-batch-content", batch_id)
        assert names == Counter(str(each["file_name"]) for each in listed)

    def list_ingest_details() -> None:
        rows = run.records("list-ingest-details", batch_id)
        assert len(rows) == expected_shards, rows
        assert "success" in run.command("list-ingest-details", "--batch-id", batch_id) or not rows

    for check in (create, every_image_arrived_once, list_batches, show_details, list_content, list_ingest_details):
        run.step(f"{batch_id}: {check.__name__.replace('_', ' ')}", check)


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
    say(f"{run.passed} passed, {len(run.failed)} failed")
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
