from __future__ import annotations

import pytest

from rfbulk.cli.early import MOST, _road_of, started_early
from rfbulk.workers.starting import can_start, most_processes


@pytest.mark.parametrize(
    ("line", "road"),
    [
        ("upload images photos --batch-id spring", "send"),
        ("--json upload images photos -b spring", "send"),
        ("--workspace run upload images photos -b spring", "send"),
        ("export results ./results", "fetch"),
        ("run photos --workflow-id detect --output results", "send"),
        ("upload images photos -b spring --dry-run", None),
        ("upload images photos -b spring --processes=1", None),
        ("upload images photos -b spring --limit-rate 1MiB", None),
        ("upload images s3://bucket/photos -b spring", None),
        ("upload images --help", None),
        ("upload videos clips -b night", None),
        ("batch list", None),
        ("", None),
    ],
)
def test_processes_are_started_for_what_will_use_them(line: str, road: str | None) -> None:
    assert road == _road_of(line.split())


@pytest.mark.skipif(not can_start(), reason="no process can be started here")
def test_what_was_not_taken_is_ended() -> None:
    spares = started_early(["upload", "images", "photos", "-b", "spring"])
    assert spares is not None
    children = list(spares._children)
    assert len(children) == min(MOST, most_processes(None))
    assert spares.take("fetch") is None
    spares.close()
    spares.close()
    assert all(child.returncode is not None for child in children)
