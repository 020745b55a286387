"""Anything may befall an upload, in any order; in the end each image is in the batch once, or the report names it.

Hypothesis plans, runs, kills, cuts the power, lets grants end, changes the source, breaks the service and the line,
resumes and starts twice. The service's own ledger is the oracle. `make chaos` goes on for as long as told.
"""

from __future__ import annotations

import os
from typing import Literal

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rfbulk.emulator import EmulatorOptions
from tests.chaos.world import ChaosWorld
from tests.support.chaos_proxy import Trouble

pytestmark = [pytest.mark.slow, pytest.mark.crash]
_ASKED = os.environ.get("RFBULK_CHAOS_EXAMPLES")
EXAMPLES = int(_ASKED or 12)
STEPS = int(os.environ.get("RFBULK_CHAOS_STEPS", "12"))

PATHS = [f"{folder}img-{number:02}.jpg" for number in range(8) for folder in ("", "day/", "day/cam/")]
FAULTS = (
    *("put:status=503", "put:status=503,times=3", "put:status=429,Retry-After=0", "put:status=403", "put:status=413"),
    *("put:swallow", "put:swallow,times=2", "put:reset,after-bytes=2000", "put:reset", "put:html", "put:expired"),
    *("put:corrupt,keep=no", "put:corrupt", "put:wrong-hash", "put:stall,seconds=5", "put:status=500,after-bytes=100"),
    *("grant:status=503", "grant:swallow", "grant:reset", "grant:html", "grant:malformed", "grant:wrong-type"),
    *("count:status=502", "count:swallow", "shards:reset", "shards:empty-pages", "shards:cycle", "shards:malformed"),
    *("batch:status=500", "workspace:status=503", "list:status=503", "list:reset", "list:duplicate-token"),
)
TROUBLES = st.builds(
    Trouble,
    kind=st.sampled_from(["reset", "cut", "swallow", "delay", "trickle"]),
    way=st.sampled_from(["up", "down"]),
    after=st.sampled_from([0, 20, 200, 3000]),
    match=st.sampled_from([b"PUT /", b"POST /", b"GET /", b"/count?", b""]),
)


SERVICES = st.builds(
    EmulatorOptions,
    if_generation_match=st.booleans(),
    second_put=st.sampled_from(["replaces", "indexes-again"]),
    count_mode=st.sampled_from(["indexed", "accepted"]),
    list_unfilled_shards=st.booleans(),
    shard_id_in_url=st.booleans(),
    index_delay_seconds=st.sampled_from([0.0, 0.05]),
    max_shard_bytes=st.sampled_from([20_000, 10 << 30]),
)
"""What is not known of the service, in every way."""


class AnyUpload(RuleBasedStateMachine):
    """One folder, one batch, one state folder, and all that may happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.world: ChaosWorld | None = None

    @property
    def its(self) -> ChaosWorld:
        if self.world is None:
            raise AssertionError("it begins with `begin`")
        return self.world

    @initialize(options=SERVICES, paths=st.sets(st.sampled_from(PATHS), min_size=1), seed=st.integers(0, 99))
    def begin(self, options: EmulatorOptions, paths: set[str], seed: int) -> None:
        self.world = ChaosWorld(options, seed=seed).__enter__()
        for path in sorted(paths):
            self.its.write(path)

    # the source

    @rule(path=st.sampled_from(PATHS))
    def write(self, path: str) -> None:
        self.its.write(path)

    @precondition(lambda self: self.world and len(self.world.files) > 1)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        self.its.remove(data.draw(st.sampled_from(sorted(self.its.files))))

    # the service and the line

    @rule(fault=st.sampled_from(FAULTS))
    def break_the_service(self, fault: str) -> None:
        self.its.emulator.faults.add(fault)

    @rule(trouble=TROUBLES)
    def break_the_line(self, trouble: Trouble) -> None:
        self.its.proxy.plan(trouble)

    @rule()
    def let_grants_end(self) -> None:
        self.its.emulator.clock.advance(7200)

    # runs

    @rule()
    def run(self) -> None:
        note(f"ended: {self.its.run()}")

    @rule(at=st.integers(1, 60), power_is_cut=st.booleans())
    def die(self, at: int, *, power_is_cut: bool) -> None:
        note(f"died at {self.its.run_until_death(at, power_is_cut=power_is_cut)}")

    @rule(steps=st.integers(0, 400))
    def cancel(self, steps: int) -> None:
        note(f"ended: {self.its.run_until_cancelled(steps)}")

    @rule(seconds=st.sampled_from([0.0, 0.02, 0.1]))
    def stop(self, seconds: float) -> None:
        note(f"ended: {self.its.run_until_stopped(seconds)}")

    @precondition(lambda self: self.world and self.world.has_checkpoint and self.world.files)
    @rule(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def damage_the_checkpoint(self, place: float, bit: int) -> None:
        """Told before anything is sent; it may have died before it came to the checkpoint, by another fault."""
        ended = self.its.run_on_a_damaged_checkpoint(place, bit)
        note(f"ended: {ended}")
        assert isinstance(ended, str)

    @rule()
    def start_twice(self) -> None:
        self.its.run_twice_at_once()

    @rule()
    def settle(self) -> None:
        self.its.settle()

    @invariant()
    def nothing_strange_is_there(self) -> None:
        if self.world is not None:
            self.its.check_nothing_strange()

    def teardown(self) -> None:
        if self.world is not None:
            try:
                self.its.settle()
            finally:
                self.world.__exit__(None, None, None)


@pytest.mark.timeout(0 if _ASKED else 240)
def test_whatever_happens_each_image_arrives_once_or_is_named() -> None:
    run_state_machine_as_test(
        AnyUpload,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=_ASKED is None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )


@pytest.mark.parametrize("count_mode", ["indexed", "accepted"])
def test_a_copy_that_is_indexed_behind_the_first_is_told(count_mode: Literal["indexed", "accepted"]) -> None:
    """An answer was lost, the store indexed again, and the count was as expected before the second copy was in it."""
    options = EmulatorOptions(
        if_generation_match=False, second_put="indexes-again", count_mode=count_mode, index_delay_seconds=0.3
    )
    with ChaosWorld(options, seed=1) as world:
        world.write("a.jpg")
        world.emulator.faults.add("put:swallow")
        report = world.run(quiet_seconds=1.0)
        assert not isinstance(report, str), report
        assert world.emulator.faults.unconsumed() == []
        assert list(world.held().values()) == [2]
        assert (report.is_confirmed, report.has_failures) == (False, True), report
        again = world.run(quiet_seconds=1.0)
        assert not isinstance(again, str), again
        assert again.doubled == ["a.jpg"], "what was told once is told as long as it is so"
