"""Who takes part in uploading: rfbulk, Roboflow's own client, `tar | curl`, and the limit.

Each is run as its users run it, with default options; one that is not there is named with the reason.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.bench import ROOT
from benchmarks.process import Command, run_command
from benchmarks.servers import compiled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.bench import Bench

RIVAL = "inference-cli"
RIVAL_VERSION = "1.8.3"
RIVAL_VENV = ROOT / ".venv-inference"
LIMIT = "limit"
LIMIT_SMALL_BUFFER = "limit, small buffer"
SMALL_BUFFER_BYTES = 160 << 10  # as rfbulk asks for where the other side is this machine
RFBULK = "rfbulk"
CURL = "tar | curl"


@dataclass(frozen=True, slots=True)
class Job:
    """One upload to be done: a folder, the sink's port, a batch never used before, a fresh folder for state."""

    folder: Path
    port: int
    batch: str
    state: Path

    @property
    def url(self) -> str:
        """Where the service is."""
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to upload. `start_command` does nothing but start (None: starting takes no time worth taking off)."""

    name: str
    command: Callable[[Job], Command]
    start_command: Command | None = None
    clean: Callable[[Job], None] = lambda _: None


def contenders(bench: Bench) -> tuple[list[Contender], list[str]]:
    """Return those who can take part, and why the others cannot."""
    found: list[Contender] = []
    missing: list[str] = []
    for seek in (rfbulk, rival, tar_curl, limit, limit_small_buffer):
        match seek(bench):
            case Contender() as contender:
                found.append(contender)
            case reason:
                missing.append(reason)
    return found, missing


def rfbulk(bench: Bench) -> Contender | str:
    """Return the product, or why it cannot run."""
    start = Command((str(bench.python), "-m", "rfbulk", "--version"))
    tried = run_command(start)
    if tried.exit_code != 0:
        return f"{RFBULK}: `{shlex.join(start.arguments)}` fails: {tried.output.strip().rpartition(chr(10))[2]}"

    def command(job: Job) -> Command:
        return Command(
            (str(bench.python), "-m", "rfbulk", "upload", "images", str(job.folder), "--batch-id", job.batch),
            rfbulk_environment(job),
        )

    return Contender(RFBULK, command, start)


def rfbulk_environment(job: Job) -> dict[str, str]:
    """Return what leads rfbulk to the sink and to a state of its own."""
    return {
        "ROBOFLOW_API_URL": job.url,
        "ROBOFLOW_API_KEY": "bench",
        "RFBULK_STATE_DIR": str(job.state),
        "XDG_STATE_HOME": str(job.state),  # for the library, which reads no environment of ours
    }


def rival(bench: Bench) -> Contender | str:
    """Return Roboflow's own client, installing it into its own environment if it is to be there."""
    program = bench.inference
    if not program.exists() and program == RIVAL_VENV / "bin" / "inference" and not bench.smoke:
        install(RIVAL, RIVAL_VERSION, RIVAL_VENV, bench)
    if not program.exists():
        return f"{RIVAL}: there is no {program} (a run without --smoke installs it, --inference names another)"

    def command(job: Job) -> Command:
        create = ("rf-cloud", "data-staging", "create-batch-of-images")
        where = ("--images-dir", str(job.folder), "--batch-id", job.batch, "--api-key", "bench")
        return Command((str(program), *create, *where), {"API_BASE_URL": job.url})

    return Contender(RIVAL, command, Command((str(program), "--version")), remove_rival_log)


def install(package: str, version: str, place: Path, bench: Bench) -> None:
    """Put a package into an environment of its own; say so, and say it where that fails."""
    print(f"  installing {package} {version} into {place}", flush=True)
    try:
        subprocess.run([bench.python, "-m", "venv", place], check=True)
        pip = (place / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        subprocess.run([*pip, f"{package}=={version}"], check=True)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"  {package} CANNOT be installed: {error}", flush=True)
        shutil.rmtree(place, ignore_errors=True)


def remove_rival_log(job: Job) -> None:
    """Remove what the rival writes into the folder, by which it would leave out what it has sent."""
    for log in job.folder.glob(".import_log-*"):
        log.unlink()


def tar_curl(_: Bench) -> Contender | str:
    """Return the shell's way to move a folder, with neither grants nor checks."""
    for program in ("tar", "curl"):
        if shutil.which(program) is None:
            return f"{CURL}: there is no {program}"

    def command(job: Job) -> Command:
        pack = shlex.join(("tar", "-C", str(job.folder), "-cf", "-", "."))
        send = shlex.join(("curl", "-sS", "--fail", "-T", "-", f"{job.url}/raw/{job.batch}"))
        return Command(("sh", "-c", f"{pack} | {send}"))

    return Contender(CURL, command)


def limit(bench: Bench) -> Contender | str:
    """Return the least that any client must do, in C."""
    return _limit(LIMIT, bench)


def limit_small_buffer(bench: Bench) -> Contender | str:
    """Return the same, where the system holds little of what was sent: it is in the cache still when it is received."""
    return _limit(LIMIT_SMALL_BUFFER, bench, "-s", str(SMALL_BUFFER_BYTES))


def _limit(name: str, bench: Bench, *options: str) -> Contender:
    start = (str(compiled("limit", bench.build)), *options)
    return Contender(name, lambda job: Command((*start, str(job.folder), str(job.port))))
