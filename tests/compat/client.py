"""Roboflow's own client, installed in an environment of its own, and how its commands are run and judged."""

from __future__ import annotations

import json
import os
import subprocess
import venv
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.from_thread import BlockingPortal

    from rfbulk.emulator import Emulator

CLIENT = "inference-cli[cloud-storage]==1.8.3"
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

    def command(self, *arguments: str, group: str = "data-staging", environment: dict[str, str] | None = None) -> str:
        """Run a command of the client and return what it printed."""
        finished = subprocess.run(
            [self.client, "rf-cloud", group, *arguments],
            env=client_environment(self.emulator) | (environment or {}),
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
    if not command.exists() or not list(ENVIRONMENT.glob("lib/python*/site-packages/s3fs")):
        say(f"installing {CLIENT} in {ENVIRONMENT.name}")
        venv.create(ENVIRONMENT, with_pip=True, clear=not command.exists())
        pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, CLIENT], check=True)
    return command
