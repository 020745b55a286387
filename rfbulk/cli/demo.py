"""`make demo`: the whole run on real image files against the embedded emulator, every image's hash compared."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread
import click
import orjson

from rfbulk.cli.options import ExitCode, Globals
from rfbulk.cli.printing import number, size
from rfbulk.cli.progress import progress_printer
from rfbulk.cli.run_printing import print_run_report
from rfbulk.cli.running import Session, run
from rfbulk.client import Client
from rfbulk.client.running import RunOptions
from rfbulk.core.limits import Format, format_of
from rfbulk.emulator import Emulator, EmulatorOptions, Ledger
from rfbulk.emulator.images import write_images
from rfbulk.settings import ExportOptions, Settings

if TYPE_CHECKING:
    from rfbulk.core.report import UploadReport

BATCH = "demo"
IMAGES = 2000


@click.command()
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A folder of your own.")
def demo(images: Path | None) -> int:
    """Run real images through an emulator on this machine, and compare every hash with what it holds and finds."""
    with tempfile.TemporaryDirectory(prefix="rfbulk-demo-") as folder:

        async def command(session: Session) -> int:
            return await _demo(session, Path(folder), images)

        return run(Globals(), command)


async def _demo(session: Session, folder: Path, images: Path | None) -> int:
    source = images if images is not None else await anyio.to_thread.run_sync(_write_images, folder / "images")
    session.has_gentle_stop = True
    options = EmulatorOptions(store="folder", directory=_made(folder / "service"))
    table = folder / "results.jsonl"
    wanted = RunOptions(batch_id=BATCH, allow_incomplete=True, export=ExportOptions(merge=table))
    async with Emulator(options) as emulator:
        click.echo(f"emulator   {emulator.url}")
        settings = replace(Settings(), api_url=emulator.url, state_dir=folder / "state")
        async with Client(emulator.api_key, settings=settings) as client:
            with progress_printer(session.options) as on_event:
                report = await client.run(
                    source, "demo", folder / "results", options=wanted, on_event=on_event, stop=session.stop
                )
        click.echo("report")
        print_run_report(report)
        if session.interrupted_by is not None:
            return ExitCode.INTERRUPTED
        if report.upload is None or not report.is_done:
            return ExitCode.FAILED
        ours = await anyio.to_thread.run_sync(_hashes, source)
        results = await anyio.to_thread.run_sync(_hashes_in, table)
        return _compare(ours, emulator.ledger(BATCH), results, report.upload)


def _write_images(folder: Path) -> Path:
    folder.mkdir()
    write_images(folder, IMAGES, 1)
    files = [path for path in folder.rglob("*") if path.is_file()]
    total = sum(path.stat().st_size for path in files)
    click.echo(f"images     {number(len(files), 'PNG')} written, {size(total)}")
    return folder


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _hashes(source: Path) -> Counter[str]:
    """Hash every image file, by means that share nothing with the upload."""
    files = (path for path in source.rglob("*") if path.is_file())
    images = (path for path in files if format_of(path.name.encode("utf-8", "surrogateescape")) is Format.ACCEPTED)
    return Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in images)


def _hashes_in(table: Path) -> Counter[str]:
    """Read what the job says of each image that it looked at."""
    return Counter(orjson.loads(line)["sha256"] for line in table.read_bytes().splitlines())


def _compare(ours: Counter[str], ledger: Ledger, results: Counter[str], report: UploadReport) -> int:
    click.echo("comparison of every image's SHA-256 with what the emulator indexed, and with the results of the job")
    click.echo(f"  in the source     {ours.total():,} images, {len(ours):,} different")
    named = report.refused + report.quarantined + report.failed
    is_whole = report.is_confirmed and report.closes
    for place, found in (("in the batch", ledger.hashes), ("in the results", results)):
        missing, others = ours - found, found - ours
        click.echo(f"  {place:<16}  {found.total():,} images, {missing.total():,} missing, {others.total():,} others")
        is_whole = is_whole and not others and missing.total() <= named
    verdict = "every image is in the batch and in the results exactly once" if is_whole else "images are missing"
    click.echo(f"{'ok' if is_whole else 'FAILED'}: {verdict}")
    return ExitCode.DONE if is_whole else ExitCode.FAILED


if __name__ == "__main__":
    raise SystemExit(demo(standalone_mode=False))
