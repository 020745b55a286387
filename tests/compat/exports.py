"""The client brings batches home."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

from rfbulk.emulator import Made, NewPart
from rfbulk.emulator.archives import tar_gz

if TYPE_CHECKING:
    from pathlib import Path

    from rfbulk.emulator import NewParts
    from tests.compat.client import Run

MANY = 250  # more than two pages


def try_export(run: Run) -> None:
    """Let the client export a batch of parts and compare every file."""
    members = {f"m-{number}.txt": b"%d" % number * 1000 for number in range(5)}
    parts: NewParts = {
        "results": [("a.jsonl", b"{}\n" * 1000), ("empty.csv", b"")],
        "many": [(f"{number:04}.bin", Made(1000 + number, seed=number)) for number in range(MANY)],
        "archives": NewPart([("a.tar.gz", tar_gz(members.items())), ("b.tar", _tar({"plain.txt": b"plain"}))]),
    }

    def export() -> None:
        run.portal.call(lambda: run.emulator.add_batch("export-me", parts=parts))
        run.command("export-batch", "--batch-id", "export-me", "--target-dir", str(run.folder / "exported"))

    def every_file_is_the_same() -> None:
        for part in ("results", "many"):
            folder = run.folder / "exported" / part
            expected = {name: _content(run, part, name) for name in run.emulator.places("export-me", part)}
            assert expected == _files(folder), f"part {part} differs"

    def archives_are_unpacked() -> None:
        assert {**members, "plain.txt": b"plain"} == _files(run.folder / "exported" / "archives")

    def show_parts() -> None:
        output = run.command("show-batch-details", "--batch-id", "export-me")
        assert "multipart-batch" in output, output
        assert str(MANY) in output, output

    def list_content_of_parts() -> None:
        rows = run.records("list-batch-content", "export-me")
        assert len(rows) == 2 + MANY + 2
        assert {row["part_name"] for row in rows} == set(parts)

    for check in (export, every_file_is_the_same, archives_are_unpacked, show_parts, list_content_of_parts):
        run.step(f"export-me: {check.__name__.replace('_', ' ')}", check)


def _content(run: Run, part: str, name: str) -> bytes:
    return run.portal.call(lambda: run.emulator.read_file("export-me", name, part=part))


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _tar(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()
