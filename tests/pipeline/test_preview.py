"""What an upload would do, in numbers."""

from __future__ import annotations

from rfbulk.core.model import Refusal, RefusalReason
from rfbulk.core.planning import Planner
from rfbulk.core.tarlayout import tar_bytes
from rfbulk.pipeline.preview import MAX_SHOWN, preview
from tests.support.fakes import FakeSource


def test_images_shards_and_exact_tars_are_counted() -> None:
    source = FakeSource({f"{number}.png": 100 + number for number in range(7)}, group_size=3)
    result = preview(source, Planner(max_images=3))
    entries = [source.entry(path) for path in sorted(source.files)]
    groups = [entries[0:3], entries[3:6], entries[6:]]
    assert (result.images, result.bytes, result.shards) == (7, sum(entry.size for entry in entries), 3)
    assert sum(tar_bytes(group, b"") for group in groups) == result.tar_bytes


def test_names_that_differ_from_their_paths_are_shown() -> None:
    result = preview(FakeSource({"a.png": 1, "deep/b.png": 1}), Planner())
    assert (result.renamed, result.renamed_examples) == (1, [("deep/b.png", "deep__b.png")])


def test_refused_files_are_counted_by_reason_and_skipped_ones_apart() -> None:
    source = FakeSource({"a.png": 1})
    source.refusals = [Refusal(0, b"%d.gif" % number, RefusalReason.UNSUPPORTED_IMAGE) for number in range(2)]
    source.refusals += [Refusal(0, b"b.png", RefusalReason.EMPTY, "no bytes")]
    source.refusals += [Refusal(0, b"notes.txt", RefusalReason.NOT_AN_IMAGE)]
    result = preview(source, Planner())
    assert (result.refused, result.skipped) == ({"unsupported-image": 2, "empty": 1}, 1)
    assert result.refused_examples[-1] == ("b.png", "empty", "no bytes")


def test_examples_are_limited_and_counts_are_not() -> None:
    count = MAX_SHOWN + 5
    source = FakeSource({f"deep/{number}.png": 1 for number in range(count)})
    source.refusals = [Refusal(0, b"%d.gif" % number, RefusalReason.UNSUPPORTED_IMAGE) for number in range(count)]
    result = preview(source, Planner())
    assert (result.renamed, len(result.renamed_examples)) == (count, MAX_SHOWN)
    assert (result.refused["unsupported-image"], len(result.refused_examples)) == (count, MAX_SHOWN)


def test_nothing_is_nothing() -> None:
    result = preview(FakeSource(), Planner())
    assert (result.images, result.shards, result.tar_bytes) == (0, 0, 0)
