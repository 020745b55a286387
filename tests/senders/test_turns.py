from __future__ import annotations

import threading
import time

import pytest

from rfbulk.senders import turns as module
from rfbulk.senders.turns import FREE_CHUNKS, Turns


def busy() -> str:
    """Work for the processor, long enough for its clock."""
    ends = time.thread_time() + 0.002
    while time.thread_time() < ends:
        pass
    return "packed"


def test_whoever_works_with_the_processor_does_so_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(module, "WAITED", float("inf"))  # other programs may have the processor meanwhile
    turns, at_once, most = Turns(), 0, 0
    lock = threading.Lock()

    def pack() -> str:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        packed = busy()
        with lock:
            at_once -= 1
        return packed

    packed: list[str] = []
    threads = [threading.Thread(target=lambda: packed.append(turns.take(pack))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (packed, most) == (["packed"] * 4, 1)


def test_where_the_disk_is_what_is_waited_for_there_are_no_turns_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 60.0)
    turns = Turns()
    assert turns.take(lambda: time.sleep(0.02)) is None
    for _ in range(FREE_CHUNKS):
        with turns._lock:  # as if another had its turn: nobody waits for it
            assert turns.take(busy) == "packed"
    assert turns._free == 0


def test_one_that_hangs_holds_nobody_up() -> None:
    turns, hangs, go_on = Turns(), threading.Event(), threading.Event()

    def hang() -> None:
        hangs.set()
        assert go_on.wait(30)

    thread = threading.Thread(target=turns.take, args=(hang,))
    thread.start()
    assert hangs.wait(30)
    assert turns.take(busy) == "packed"
    go_on.set()
    thread.join()


def test_what_fails_gives_its_turn_back() -> None:
    turns = Turns()

    def fail() -> None:
        raise OSError

    for _ in range(2):
        with pytest.raises(OSError):  # noqa: PT011 - the one that was raised above
            turns.take(fail)
    assert not turns._lock.locked()
