"""A set is measured as it was just written, or told to be kept; and a disk does not fill with them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from crc32c import crc32c

from benchmarks import datasets, links
from benchmarks.bench import Bench, NoRoom
from benchmarks.datasets import Shape, prepare_files, read_stamp, remove_made
from benchmarks.links import UNFINISHED, prepare_links

FEW = Shape("few", 10, 100, 300)
OTHER = Shape("other", 10, 100, 300, per_folder=4)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def inodes(folder: Path) -> set[int]:
    return {path.stat().st_ino for path in folder.rglob("*") if path.is_file()}


def test_a_set_is_what_is_told_of_it(bench: Bench) -> None:
    data = prepare_files(OTHER, 10, bench)
    contents = [path.read_bytes() for path in data.folder.glob("*/*.jpg")]
    assert (10, sum(map(len, contents)), sum(map(crc32c, contents))) == (
        len(contents),
        data.total_bytes,
        data.image_sum,
    )
    assert sorted(each.name for each in data.folder.iterdir()) == ["camera-00000", "camera-00001", "camera-00002"]


def test_a_set_that_this_run_made_is_used_again(bench: Bench) -> None:
    first = prepare_files(FEW, 10, bench)
    before = inodes(first.folder)
    assert first == prepare_files(FEW, 10, bench)
    assert before == inodes(first.folder)


def test_a_set_that_an_earlier_run_left_is_made_anew(bench: Bench) -> None:
    first = prepare_files(FEW, 10, bench)
    (first.folder / "more.jpg").write_bytes(b"")
    second = prepare_files(FEW, 10, replace(bench, made=set()))
    assert first.folder == second.folder
    assert "more.jpg" not in names(second.folder)


def test_a_set_that_is_kept_is_used_by_the_next_run(bench: Bench) -> None:
    first = prepare_files(FEW, 10, bench)
    (first.folder / "more.jpg").write_bytes(b"")
    assert first == prepare_files(FEW, 10, replace(bench, keeps=True, made=set()))
    assert "more.jpg" in names(first.folder)


def test_a_kept_set_that_is_not_whole_is_made_anew(bench: Bench) -> None:
    first = prepare_files(FEW, 10, bench)
    first.folder.with_suffix(".json").write_text(json.dumps({"version": datasets.VERSION, "begun": True}))
    (first.folder / "image-00000000.jpg").unlink()
    second = prepare_files(FEW, 10, replace(bench, keeps=True, made=set()))
    assert len(names(second.folder)) == 10


def test_one_set_goes_before_the_next_comes(bench: Bench) -> None:
    first = prepare_files(FEW, 10, bench)
    first.folder.with_suffix(".index").write_text("what is served by it")
    second = prepare_files(OTHER, 10, bench)
    assert [second.folder.name, f"{second.folder.name}.json"] == sorted(each.name for each in bench.data.iterdir())


def test_kept_sets_stay_beside_each_other_and_in_the_end(bench: Bench) -> None:
    keeping = replace(bench, keeps=True)
    first, second = prepare_files(FEW, 10, keeping), prepare_files(OTHER, 10, keeping)
    remove_made(keeping)
    assert first.folder.is_dir()
    assert second.folder.is_dir()


def test_the_end_of_a_run_leaves_nothing(bench: Bench) -> None:
    prepare_files(FEW, 10, bench)
    remove_made(bench)
    assert list(bench.data.iterdir()) == []


def test_without_room_the_sets_of_earlier_runs_go_and_nothing_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = prepare_files(FEW, 10, bench)
    theirs = bench.data / "photos"
    theirs.mkdir()
    theirs.with_suffix(".json").write_text('{"mine": 1}')
    monkeypatch.setattr(datasets, "SPARE_BYTES", 1 << 62)
    with pytest.raises(NoRoom, match="other-10 needs"):
        prepare_files(OTHER, 10, replace(bench, made=set()))
    assert not left.folder.exists()
    assert theirs.is_dir()


def test_without_room_kept_sets_stay(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    left = prepare_files(FEW, 10, bench)
    monkeypatch.setattr(datasets, "SPARE_BYTES", 1 << 62)
    with pytest.raises(NoRoom, match="without --keep"):
        prepare_files(OTHER, 10, replace(bench, keeps=True))
    assert left.folder.is_dir()


@pytest.fixture
def _few_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "LINKS", 5)
    monkeypatch.setattr(links, "SHAPE", replace(OTHER, name="linked", files=50, smoke_scale=1.0))


@pytest.mark.usefixtures("_few_links")
def test_links_are_many_names_of_each_file(bench: Bench) -> None:
    real, linked = prepare_links(bench)
    assert 50 * 5 == len(names(linked.folder)) == linked.files
    assert inodes(real.folder) == inodes(linked.folder)
    contents = [path.read_bytes() for path in linked.folder.rglob("*.jpg")]
    assert (sum(map(len, contents)), sum(map(crc32c, contents))) == (linked.total_bytes, linked.image_sum)


@pytest.mark.usefixtures("_few_links")
def test_links_that_were_left_half_made_are_gone_on_with(bench: Bench) -> None:
    real, linked = prepare_links(bench)
    wanted = names(linked.folder)
    stamp = read_stamp(linked.folder)
    del stamp["whole"]
    datasets.write_stamp(linked.folder, stamp)
    kept = linked.folder / "camera-00000"
    before = kept.stat().st_ino
    (linked.folder / "camera-00007").rename(linked.folder / UNFINISHED)
    next((linked.folder / UNFINISHED).iterdir()).unlink()
    assert (real, linked) == prepare_links(replace(bench, made=set()))
    assert wanted == names(linked.folder)
    assert before == kept.stat().st_ino


@pytest.mark.usefixtures("_few_links")
def test_links_to_other_files_are_made_anew(bench: Bench) -> None:
    real, linked = prepare_links(bench)
    datasets.remove(real.folder)
    real, again = prepare_links(replace(bench, made=set()))
    assert linked.folder == again.folder
    assert inodes(real.folder) == inodes(again.folder)


@pytest.mark.usefixtures("_few_links")
def test_links_and_what_they_stand_on_go_in_the_end(bench: Bench) -> None:
    prepare_links(bench)
    remove_made(bench)
    assert list(bench.data.iterdir()) == []
