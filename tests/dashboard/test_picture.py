from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from rfbulk.dashboard.chronicle import Chronicle, Ending
from rfbulk.dashboard.frames import FRAME_SECONDS, Frame, Frames
from rfbulk.dashboard.picture import Painter
from rfbulk.events import Event, ShardChanged, TransferBegun
from tests.dashboard.histories import ABOUT, FETCHING, SENDING, named, told, upload


class Reader:
    """What the page's script does with frames."""

    def __init__(self) -> None:
        self.model: dict[str, Any] = {}

    def take(self, frame: dict[str, Any]) -> None:
        frame = dict(frame)
        is_whole = frame.pop("kind") == "whole"
        series, cells, files = frame.pop("series"), frame.pop("map"), frame.pop("named")
        before = {"buckets": [], "cells": {}, "files": []} if is_whole else self.model
        kept = {} if cells["whole"] else before["cells"]
        self.model = ({} if is_whole else self.model) | frame
        self.model["buckets"] = [*([] if series["whole"] else before["buckets"][: series["from"]]), *series["buckets"]]
        self.model["files"] = [*before["files"][: files["from"]], *files["files"]]
        self.model["cells"] = kept | {index: counts for index, *counts in cells.pop("cells")}
        self.model["map"] = {name: value for name, value in cells.items() if name != "whole"}
        self.model["step"] = series["step"]


STATES = st.sampled_from(["granted", "sending", "retrying", "planned", "sent", "unsure", "split", "failed", "left"])
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(ShardChanged, st.integers(1, 3000), STATES, st.just(1), st.just(1)),
    st.just(SENDING),
    st.just(FETCHING),
    st.builds(named, st.integers(0, 10)),
    st.builds(TransferBegun, st.sampled_from(["upload", "export"]), st.just("b")),
)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 400), EVENTS, st.booleans()), max_size=60))
def test_who_follows_the_changes_sees_what_a_newcomer_sees(steps: list[tuple[float, Event, bool]]) -> None:
    chronicle, now, clock = Chronicle(), 0.0, 0.0
    frames = Frames(Painter(chronicle, ABOUT))
    follower, seen = Reader(), 0
    for seconds, event, is_read in steps:
        now += seconds
        chronicle.take(event, now)
        if is_read:
            clock += 1
            seen = read(frames, follower, seen, clock)
    seen = read(frames, follower, seen, clock + 1)
    newcomer = Reader()
    read(frames, newcomer, 0, clock + 1)
    assert newcomer.model == follower.model


def read(frames: Frames, reader: Reader, seen: int, clock: float) -> int:
    frame = frames.next(seen, clock)
    if frame is None:
        return seen
    reader.take(msgspec.json.decode(frame.data))
    return frame.number


def test_frames_come_no_oftener_than_four_a_second_and_each_is_painted_once() -> None:
    chronicle = told(upload())
    frames = Frames(Painter(chronicle, ABOUT))
    first = frames.next(0, 100.0)
    assert first is not None
    chronicle.take(SENDING, 11.0)
    assert frames.next(first.number, 100.0 + FRAME_SECONDS / 2) is None
    second, same = frames.next(first.number, 100.0 + FRAME_SECONDS), frames.next(first.number, 100.3)
    assert isinstance(second, Frame)
    assert isinstance(same, Frame)
    assert second.data is same.data
    assert frames.next(second.number, 200.0) is None


def test_who_missed_a_frame_gets_the_whole_and_not_a_queue() -> None:
    chronicle = told(upload())
    frames = Frames(Painter(chronicle, ABOUT))
    assert frames.next(0, 1.0) is not None
    for clock in range(2, 6):
        chronicle.take(SENDING, 11.0 + clock)
        assert frames.next(clock - 1, float(clock)) is not None
    late = frames.next(2, 6.0)
    assert late is not None
    assert msgspec.json.decode(late.data)["kind"] == "whole"


def test_the_last_frame_is_painted_at_once() -> None:
    chronicle = told(upload())
    frames = Frames(Painter(chronicle, ABOUT))
    first = frames.next(0, 1.0)
    assert first is not None
    chronicle.end(Ending(3, "finished, but some files failed"), 12.0)
    frames.close()
    last = frames.next(first.number, 1.0)
    assert last is not None
    assert msgspec.json.decode(last.data)["ending"]["exit_code"] == 3


def test_names_that_are_no_text_break_no_frame() -> None:
    chronicle = told([(1.0, TransferBegun("upload", "spring", ("/\udcff",))), (2.0, named(1, path="/\udc80.jpg"))])
    frame = Frames(Painter(chronicle, ABOUT)).next(0, 1.0)
    assert frame is not None
    told_of = msgspec.json.decode(frame.data)
    assert told_of["named"]["files"][0]["path"] == "/\\udc80.jpg"
    assert told_of["transfers"][0]["where"] == ["/\\udcff"]


def test_a_frame_of_forty_million_images_is_light() -> None:
    chronicle = told([(1.0, TransferBegun("upload", "spring"))])
    for shard in range(1, 80_001, 7):
        chronicle.take(ShardChanged(shard, "sent", 500, 1), shard * 2.0)
    frames = Frames(Painter(chronicle, ABOUT))
    whole = frames.next(0, 1.0)
    assert whole is not None
    assert len(whole.data) < 60_000
    chronicle.take(ShardChanged(80_000, "sent", 500, 1), 160_002.0)
    changes = frames.next(1, 2.0)
    assert changes is not None
    assert len(changes.data) < 2_000
