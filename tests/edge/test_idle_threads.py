from __future__ import annotations

import threading

from rfbulk.edge.idle_threads import MOST_IDLE, IdleThreads

NAME = "test-idle"


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


def done_by(threads: IdleThreads) -> int | None:
    """Do something, and return which thread has done it."""
    found: list[int | None] = []
    done = threading.Event()

    def work() -> None:
        found.append(threading.current_thread().ident)
        done.set()

    threads.begin(work)
    assert done.wait(30)
    return found[0]


def until_idle(threads: IdleThreads, count: int) -> None:
    while threads._idle < count:
        threading.Event().wait(0.001)


def test_a_thread_goes_on_to_the_next_work() -> None:
    threads = IdleThreads(NAME)
    first = done_by(threads)
    until_idle(threads, 1)
    assert first == done_by(threads)
    threads.close()


def test_work_at_once_has_threads_of_its_own() -> None:
    threads, together = IdleThreads(NAME), threading.Barrier(3)

    def work() -> None:
        together.wait(30)

    for _ in range(2):
        threads.begin(work)
    together.wait(30)
    until_idle(threads, 2)
    assert len(ours()) == 2
    threads.close()
    for thread in ours():
        thread.join(30)
    assert ours() == []


def test_busy_threads_end_behind_their_work_once_it_is_closed() -> None:
    threads, go_on, done = IdleThreads(NAME), threading.Event(), threading.Event()

    def work() -> None:
        assert go_on.wait(30)
        done.set()

    threads.begin(work)
    threads.close()
    (thread,) = ours()
    go_on.set()
    thread.join(30)
    assert done.is_set()
    assert done_by(threads) is not None  # even behind the end, work is done
    for late in ours():
        late.join(30)
    assert ours() == []


def test_only_so_many_stay() -> None:
    count = MOST_IDLE + 3
    threads, together = IdleThreads(NAME), threading.Barrier(count + 1)

    def work() -> None:
        together.wait(30)

    for _ in range(count):
        threads.begin(work)
    begun = ours()
    together.wait(30)
    until_idle(threads, MOST_IDLE)
    while len(ours()) > MOST_IDLE:
        threading.Event().wait(0.001)
    assert len(begun) == count
    threads.close()
    for thread in begun:
        thread.join(30)
    assert ours() == []
