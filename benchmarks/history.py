"""Append what was measured to a file of JSON lines, with the machine, the versions and the settings it holds for."""

from __future__ import annotations

import json
import os
import platform
import re
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench import ROOT
from benchmarks.process import output_of
from benchmarks.single_contenders import s5cmd_program

if TYPE_CHECKING:
    from benchmarks.bench import Bench, Outcome, Scenario


def append(file: Path, bench: Bench, scenario: Scenario, outcome: Outcome) -> None:
    """Add one line for one scenario."""
    file.parent.mkdir(parents=True, exist_ok=True)
    line = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "scenario": scenario.name,
        "machine": machine(),
        "versions": versions(bench),
        "settings": {"rounds": bench.rounds, "scale": bench.scale, "smoke": bench.smoke},
        "results": outcome.results,
        "goals": [{**asdict(goal), "reached": goal.reached} for goal in outcome.goals],
        "skipped": outcome.skipped,
        "problems": outcome.problems,
    }
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")


def machine() -> dict[str, object]:
    """Return what is known of this machine, and how busy it is."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load": os.getloadavg(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


@cache
def versions(bench: Bench) -> dict[str, str | None]:
    """Return the versions of all that takes part, None of what is not there."""
    python = str(bench.python)
    rival = bench.inference.with_name("python")
    names = ("rfbulk", "aiohttp", "uvloop", "anyio")
    installed = f"import importlib.metadata as m; print(*map(m.version, {names!r}))"
    found = (output_of(python, "-c", installed) or "").split()
    return {
        **dict(zip(names, found, strict=False)),
        "python": output_of(python, "--version"),
        "commit": output_of("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"),
        "inference-cli": output_of(
            str(rival), "-c", "from importlib.metadata import version; print(version('inference-cli'))"
        ),
        "curl": _first_line("curl", "--version"),
        "aria2c": _first_line("aria2c", "--version"),
        "s5cmd": _first_line(str(program), "version") if (program := s5cmd_program(bench)) else None,
        "rclone": _first_line("rclone", "version"),
        "cc": _first_line("cc", "--version"),
    }


def _first_line(*command: str) -> str | None:
    return (output_of(*command) or "").split("\n")[0] or None


def brief(version: str | None) -> str:
    """Return the number alone of what a program says of itself."""
    if version is None:
        return "not there"
    number = re.search(r"(?<!\w)v?\d[\w.+-]*", version) if " " in version else None
    return number[0] if number else version
