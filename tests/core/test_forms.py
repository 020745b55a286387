"""How files travel decides how they are cut, how long they are, and which batches can take them."""

from __future__ import annotations

import pytest

from rfbulk.core.forms import SHARDS, SINGLES, VIDEOS, Form
from rfbulk.core.model import Entry
from rfbulk.core.tarlayout import tar_bytes
from rfbulk.core.wire import BatchMetadata

ENTRIES = tuple(Entry(0, b"%d" % number, str(number), 100 + number, 1, number) for number in range(5))


def batch(kind: str, content: str) -> BatchMetadata:
    return BatchMetadata("b", batch_type=kind, content_type=content)


FITS = [
    (SHARDS, "sharded-batch", "images", ""),
    (SHARDS, "simple-batch", "images", "filled by single uploads"),
    (SHARDS, "simple-batch", "videos", "holds videos"),
    (SINGLES, "simple-batch", "images", ""),
    (SINGLES, "sharded-batch", "images", "holds shards"),
    (SINGLES, "simple-batch", "videos", "holds videos"),
    (VIDEOS, "simple-batch", "videos", ""),
    (VIDEOS, "sharded-batch", "images", "holds images"),
    (VIDEOS, "sharded-batch", "", ""),
    (SHARDS, "", "", ""),
]


@pytest.mark.parametrize(("form", "kind", "content", "told"), FITS)
def test_a_batch_takes_what_it_was_made_for(form: Form, kind: str, content: str, told: str) -> None:
    unfit = form.unfit(batch(kind, content))
    assert (told in unfit) if told else not unfit


@pytest.mark.parametrize("form", [SINGLES, VIDEOS])
def test_files_that_travel_alone_are_as_long_as_they_are(form: Form) -> None:
    planner = form.planner(max_images=500, max_bytes=1 << 20, trailer=b"told")
    assert planner.add(ENTRIES) == [((entry,), entry.size) for entry in ENTRIES]
    assert planner.rest() == []
    assert form.length(ENTRIES[:1], b"told") == ENTRIES[0].size


def test_shards_are_tars() -> None:
    planner = SHARDS.planner(max_images=3, max_bytes=1 << 20, trailer=b"told")
    (full,) = planner.add(ENTRIES)
    assert full == (ENTRIES[:3], tar_bytes(ENTRIES[:3], b"told"))
    assert SHARDS.length(ENTRIES, b"told") == tar_bytes(ENTRIES, b"told")


def test_each_road_has_a_checkpoint_of_its_own() -> None:
    assert len({SHARDS.road, SINGLES.road, VIDEOS.road}) == 3
