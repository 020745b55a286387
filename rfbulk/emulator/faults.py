"""Faults to happen on purpose: with which operation, what goes wrong, how often. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Operation = Literal[
    "workspace",
    "grant",
    "put",
    "batches",
    "batch",
    "count",
    "shards",
    "list",
    "parts",
    "download",
    "image",
    "video",
    "jobs",
    "job",
    "start",
    "stages",
    "tasks",
    "logs",
    "abort",
    "restart",
    "references",
    "roboql",
]
Action = Literal[
    "answer",
    "reset",
    "swallow",
    "stall",
    "slow",
    "corrupt",
    "wrong-hash",
    "html",
    "malformed",
    "wrong-type",
    "duplicate-token",
    "cycle",
    "empty-pages",
    "truncate",
    "shorter",
    "longer",
    "no-length",
    "changed",
    "wrong-range",
    "ignore-range",
    "expired",
]
_STORE = frozenset({"put", "download"})
_PAGED = frozenset({"batches", "shards", "list", "jobs", "tasks", "logs"})
_DOWNLOAD = frozenset({"download"})
_ONLY: dict[str, frozenset[str]] = {
    "corrupt": _STORE,
    "wrong-hash": _STORE,
    "duplicate-token": _PAGED,
    "cycle": _PAGED,
    "empty-pages": _PAGED,
    "truncate": _DOWNLOAD,
    "shorter": _DOWNLOAD,
    "longer": _DOWNLOAD,
    "no-length": _DOWNLOAD,
    "changed": _DOWNLOAD,
    "wrong-range": _DOWNLOAD,
    "ignore-range": _DOWNLOAD,
    "expired": _STORE,
}
_NOT_STORE = frozenset({"malformed", "wrong-type"})
ONLY_RANGES = frozenset({"wrong-range", "ignore-range"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to go wrong with requests of one operation.

    It meets `times` requests (None: every one) behind the first `after`; only those whose path and query hold `match`.

    | action | what happens | further fields |
    | --- | --- | --- |
    | answer | this answer, without doing the work | status, headers, body, after_bytes |
    | reset | the connection breaks, without doing the work | after_bytes |
    | swallow | the work is done, then the connection breaks | |
    | stall | nothing is read or answered for `seconds`, then the connection breaks | after_bytes, seconds |
    | slow | the work is done late, or a PUT's or a download's body goes slowly | seconds, bytes_per_second |
    | corrupt | one byte of a PUT's or a download's body changes on the way; the hash tells | after_bytes, keep |
    | wrong-hash | the object is good, the hash in the answer is not | |
    | html | a page with status 200, without doing the work | |
    | malformed | the work is done, the JSON breaks off | |
    | wrong-type | the work is done, every value in the JSON is of another type | |
    | duplicate-token | a page leads to itself | |
    | cycle | a page leads to the first | |
    | empty-pages | a page without elements leads to another | |
    | truncate | a download announces all its bytes, sends fewer, and closes cleanly | after_bytes |
    | shorter | a download announces and sends fewer bytes than the file has | after_bytes |
    | longer | a download announces and sends more bytes than the file has | |
    | no-length | a download does not say how long it is, and comes in chunks | |
    | changed | the file is another one from now on: content, hashes, tag, time | |
    | wrong-range | a download that asks for a range is given another one, which its head states | |
    | expired | a signed URL is refused as if its time were over | |
    | ignore-range | a download that asks for a range is given the whole file | |

    `after_bytes` is how much of the request's body is read first: None is all of it for `answer`, nothing for `reset`
    and `stall`, and the middle of the body for `corrupt`. With a download it counts the bytes of the answer; None is
    no answer at all for `reset` and `stall`, else the middle. A truncated answer that states no length looks whole.

    `keep=False` lets a corrupted object vanish after its answer, so that it can be sent again although the grant said
    `if-generation-match: 0`.
    """

    operation: Operation
    action: Action
    times: int | None = 1
    after: int = 0
    match: str = ""
    status: int = 503
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    after_bytes: int | None = None
    seconds: float = 30.0
    bytes_per_second: float | None = None
    keep: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot happen.

        Raises:
            ValueError: the operation or action is unknown, they do not go together, or a number is out of range.
        """
        if self.operation not in get_args(Operation):
            raise ValueError(f"unknown operation {self.operation!r}: one of {', '.join(get_args(Operation))}")
        if self.action not in get_args(Action):
            raise ValueError(f"unknown action {self.action!r}: one of {', '.join(get_args(Action))}")
        if not _fits(self.operation, self.action):
            raise ValueError(f"{self.action} cannot happen to {self.operation}")
        if (self.times is not None and self.times < 1) or self.after < 0 or self.seconds < 0:
            raise ValueError(f"times, after and seconds must not be negative: {self}")
        if self.bytes_per_second is not None and self.bytes_per_second <= 0:
            raise ValueError(f"bytes_per_second must be above zero: {self}")


def _fits(operation: Operation, action: Action) -> bool:
    if action in _NOT_STORE:
        return operation not in _STORE
    return action not in _ONLY or operation in _ONLY[action]
