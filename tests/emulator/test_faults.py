"""The script decides which request meets which fault, and keeps account."""

from __future__ import annotations

from typing import Any

import pytest

from rfbulk.emulator import Fault, FaultScript, parse_fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "put:status=503,times=2,retry-after=1",
            Fault("put", "answer", status=503, times=2, headers=(("retry-after", "1"),)),
        ),
        ("put:reset,after-bytes=65536", Fault("put", "reset", after_bytes=65536)),
        ("list:empty-pages,times=forever", Fault("list", "empty-pages", times=None)),
        ("grant:stall,seconds=1.5,after=3", Fault("grant", "stall", seconds=1.5, after=3)),
        ("put:slow,bytes-per-second=1000", Fault("put", "slow", bytes_per_second=1000.0)),
        ("put:corrupt,keep=no", Fault("put", "corrupt", keep=False)),
        (
            "grant:status=429,body=slow down,match=b1",
            Fault("grant", "answer", status=429, body="slow down", match="b1"),
        ),
    ],
)
def test_faults_are_read_as_the_command_line_writes_them(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    "text",
    ["put", "put:", "nothing:reset", "put:explode", "put:reset,stall", "put:status=x", "list:corrupt", "count:cycle"],
)
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_fault(text)


@pytest.mark.parametrize(
    "fields",
    [{"times": 0}, {"after": -1}, {"seconds": -1.0}, {"bytes_per_second": 0.0}],
    ids=lambda fields: next(iter(fields)),
)
def test_impossible_numbers_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        Fault("put", "reset", **fields)


def test_a_fault_meets_as_many_requests_as_it_says() -> None:
    script = FaultScript()
    fault = Fault("put", "reset", times=2, after=1)
    script.add(fault)
    assert [script.take("put", "/") for _ in range(4)] == [None, fault, fault, None]


def test_earlier_faults_go_first_and_one_request_meets_one() -> None:
    script = FaultScript()
    script.add("put:reset", "put:swallow")
    taken = [script.take("put", "/") for _ in range(3)]
    assert [fault and fault.action for fault in taken] == ["reset", "swallow", None]


def test_a_fault_without_end_meets_every_request() -> None:
    script = FaultScript()
    script.add("put:reset,times=forever")
    assert len(script.unconsumed()) == 1
    assert all(script.take("put", "/") for _ in range(10))
    assert script.unconsumed() == []


def test_only_matching_requests_meet_a_fault() -> None:
    script = FaultScript()
    script.add("put:reset,match=b2")
    assert script.take("put", "/b1/x") is None
    assert script.take("grant", "/b2/x") is None
    assert script.take("put", "/b2/x") is not None


def test_every_fault_is_accounted_for() -> None:
    script = FaultScript()
    used, half, unused = Fault("put", "reset"), Fault("grant", "html", times=2), Fault("list", "cycle")
    script.add(used, half, unused)
    script.take("put", "/")
    script.take("grant", "/")
    assert script.consumed == {used: 1, half: 1}
    assert script.unconsumed() == [half, unused]
    script.clear()
    assert script.unconsumed() == []
