"""Who takes part in exporting: rfbulk, Roboflow's own client, `curl --parallel`, aria2c, and the limit.

Each is run as its users run it, with default options; one that is not there is named with the reason. curl, aria2c and
the limit know nothing of the service: they are given all URLs beforehand, and check no file's content.
"""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks import contenders
from benchmarks.contenders import Contender
from benchmarks.process import Command
from benchmarks.servers import compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.bench import Bench

CURL = "curl --parallel"
ARIA2 = "aria2c"
LIMIT = "limit"
ARIA2_AT_ONCE = 16  # its default of 5 leaves it waiting

UNPACK = 'for archive in */*.tar.gz; do tar xzf "$archive" -C "${archive%/*}" && rm "$archive" || exit 1; done'


@dataclass(frozen=True, slots=True)
class Task:
    """One export to be done: a batch never asked for before, fresh folders for its files and for what is beside them.

    `target` and `temporary` are in memory where there is room; `state` is where the checkpoint goes, on a disk.
    """

    port: int
    batch: str
    target: Path
    temporary: Path
    state: Path
    listed: tuple[tuple[str, str], ...]  # URL and path; only for those who do not list

    @property
    def url(self) -> str:
        """Where the service is."""
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True)
class Exporter:
    """A way to export. One that does not unpack leaves archives as they are; one that lists needs no URLs."""

    name: str
    command: Callable[[Task], Command]
    start_command: Command | None = None
    unpacks: bool = True
    lists: bool = False


def exporters(bench: Bench, *, with_archives: bool) -> tuple[list[Exporter], list[str]]:
    """Return those who can take part, and why the others cannot."""
    found = [_rfbulk(bench), _rival(bench), _curl(with_archives), _aria2(with_archives), _limit(bench)]
    return [each for each in found if isinstance(each, Exporter)], [each for each in found if isinstance(each, str)]


def _rfbulk(bench: Bench) -> Exporter | str:
    product = contenders.rfbulk(bench)
    if not isinstance(product, Contender):
        return product

    def command(task: Task) -> Command:
        return Command(
            (str(bench.python), "-m", "rfbulk", "export", task.batch, str(task.target)),
            {
                "ROBOFLOW_API_URL": task.url,
                "ROBOFLOW_API_KEY": "bench",
                "RFBULK_STATE_DIR": str(task.state),
            },
        )

    return Exporter(contenders.RFBULK, command, product.start_command, lists=True)


def _rival(bench: Bench) -> Exporter | str:
    rival = contenders.rival(bench)
    if not isinstance(rival, Contender):
        return rival

    def command(task: Task) -> Command:
        export = ("rf-cloud", "data-staging", "export-batch")
        what = ("--batch-id", task.batch, "--target-dir", str(task.target), "--api-key", "bench")
        environment = {"API_BASE_URL": task.url, "TMPDIR": str(task.temporary)}
        return Command((str(bench.inference), *export, *what), environment)

    return Exporter(contenders.RIVAL, command, rival.start_command, lists=True)


def _curl(with_archives: bool) -> Exporter | str:
    if shutil.which("curl") is None:
        return f"{CURL}: there is no curl"

    def command(task: Task) -> Command:
        lines = [f'url = "{url}"\noutput = "{path}"\n' for url, path in task.listed]
        download = ("curl", "-sS", "--fail", "--parallel", "--config", _written(task, lines))
        return _in_target(task, download, unpack=with_archives)

    return Exporter(f"{CURL}, tar xzf" if with_archives else CURL, command)


def _aria2(with_archives: bool) -> Exporter | str:
    if shutil.which("aria2c") is None:
        return f"{ARIA2}: there is no aria2c (Debian's package aria2 has it)"

    def command(task: Task) -> Command:
        lines = [f"{url}\n  out={path}\n" for url, path in task.listed]
        download = ("aria2c", "--quiet", f"-j{ARIA2_AT_ONCE}", "-i", _written(task, lines))
        return _in_target(task, download, unpack=with_archives)

    return Exporter(f"{ARIA2}, tar xzf" if with_archives else ARIA2, command)


def _limit(bench: Bench) -> Exporter:
    program = compiled("fetch_limit", bench.build)

    def command(task: Task) -> Command:
        lines = [f"{_target_of(url)} {path}\n" for url, path in task.listed]
        return Command((str(program), str(task.port), _written(task, lines), str(task.target)))

    return Exporter(LIMIT, command, unpacks=False)


def _in_target(task: Task, download: Sequence[str], *, unpack: bool) -> Command:
    steps = [f"cd {shlex.quote(str(task.target))}", shlex.join(download), *([UNPACK] if unpack else [])]
    return Command(("sh", "-c", " && ".join(steps)))


def _written(task: Task, lines: list[str]) -> str:
    """Write a list of URLs, and make the folders that it leads into."""
    for part in {path.rpartition("/")[0] for _, path in task.listed}:
        (task.target / part).mkdir(parents=True, exist_ok=True)
    written = task.temporary / "list"
    written.write_text("".join(lines))
    return str(written)


def _target_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"
