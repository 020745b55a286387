"""What a look at the surroundings makes of numbers."""

from __future__ import annotations

import pytest

from rfbulk.core.checkup import (
    Finding,
    Health,
    exit_code_of,
    finding_of_file_system,
    finding_of_files,
    finding_of_room,
    finding_of_skew,
)


@pytest.mark.parametrize(
    ("seconds", "health", "detail"),
    [
        (0.2, Health.WELL, "within 1 s of the service's"),
        (-59.6, Health.WELL, "within 60 s of the service's"),
        (61.0, Health.DOUBTFUL, "61 s behind the service's"),
        (-3600.0, Health.DOUBTFUL, "3600 s ahead of the service's"),
    ],
)
def test_a_clock_is_judged_by_the_service(seconds: float, health: Health, detail: str) -> None:
    found = finding_of_skew(seconds)
    assert (health, detail) == (found.health, found.detail)


@pytest.mark.parametrize(
    ("kind", "health"),
    [("ext4", Health.WELL), ("", Health.WELL), ("nfs4", Health.DOUBTFUL), ("fuse.sshfs", Health.DOUBTFUL)],
)
def test_a_checkpoint_over_the_network_is_doubtful(kind: str, health: Health) -> None:
    assert health is finding_of_file_system(kind, "/state").health


@pytest.mark.parametrize(
    ("soft", "hard", "health"),
    [(-1, -1, Health.WELL), (1024, 4096, Health.WELL), (256, 4096, Health.DOUBTFUL), (256, 256, Health.DOUBTFUL)],
)
def test_few_open_files_are_doubtful(soft: int, hard: int, health: Health) -> None:
    found = finding_of_files(soft, hard)
    assert health is found.health
    assert (health is Health.DOUBTFUL) == bool(found.advice)


@pytest.mark.parametrize(("free", "health"), [(1 << 40, Health.WELL), (1, Health.DOUBTFUL)])
def test_a_full_disk_is_doubtful(free: int, health: Health) -> None:
    assert health is finding_of_room(free, "this much").health


def test_the_first_that_is_ill_decides() -> None:
    well, doubtful = Finding("a", Health.WELL, ""), Finding("b", Health.DOUBTFUL, "", exit_code=5)
    assert exit_code_of([well, doubtful]) == 0
    assert exit_code_of([well, Finding("c", Health.ILL, "", "", 4), Finding("d", Health.ILL, "", "", 5)]) == 4
