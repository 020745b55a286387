"""Faults to happen on purpose: which operation, what goes wrong, how often; and the account of those that did.

Pure: it decides which request meets which fault. `injection.py` makes it happen.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

Operation = Literal[
    "workspace", "grant", "put", "batches", "batch", "count", "shards", "list", "parts", "download", "image", "video"
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
]
_ONLY_PUT = frozenset({"corrupt", "wrong-hash"})
_PAGED = frozenset({"batches", "shards", "list"})
_ONLY_PAGED = frozenset({"duplicate-token", "cycle", "empty-pages"})
_NOT_STORE = frozenset({"malformed", "wrong-type"})


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
    | slow | the work is done late, or a PUT's body read slowly | seconds, bytes_per_second |
    | corrupt | one byte of a PUT's body changes on the way; the answer's hash tells | after_bytes, keep |
    | wrong-hash | the object is good, the hash in the answer is not | |
    | html | a page with status 200, without doing the work | |
    | malformed | the work is done, the JSON breaks off | |
    | wrong-type | the work is done, every value in the JSON is of another type | |
    | duplicate-token | a page leads to itself | |
    | cycle | a page leads to the first | |
    | empty-pages | a page without elements leads to another | |

    `after_bytes` is how much of the request's body is read first: None is all of it for `answer`, nothing for `reset`
    and `stall`, and the middle of the body for `corrupt`. `keep=False` lets a corrupted object vanish after its
    answer, so that it can be sent again although the grant said `if-generation-match: 0`.
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
    if action in _ONLY_PUT:
        return operation == "put"
    if action in _ONLY_PAGED:
        return operation in _PAGED
    return action not in _NOT_STORE or operation not in {"put", "download"}


@dataclass(slots=True)
class _Scripted:
    fault: Fault
    seen: int = 0
    used: int = 0

    @property
    def is_spent(self) -> bool:
        return self.fault.times is not None and self.used >= self.fault.times


@dataclass(slots=True)
class FaultScript:
    """The faults still to come and those that came. Earlier ones go first; one request meets one fault."""

    _scripted: list[_Scripted] = field(default_factory=list)

    def add(self, *faults: Fault | str) -> None:
        """Add faults; text is read by `parse_fault`."""
        self._scripted += [_Scripted(parse_fault(each) if isinstance(each, str) else each) for each in faults]

    def take(self, operation: str, target: str) -> Fault | None:
        """Return the fault that this request meets, if any, and account for it."""
        met: _Scripted | None = None
        for each in self._scripted:
            if each.fault.operation != operation or each.fault.match not in target or each.is_spent:
                continue
            if each.seen < each.fault.after:
                each.seen += 1
            elif met is None:
                met = each
        if met is None:
            return None
        met.used += 1
        return met.fault

    def clear(self) -> None:
        """Forget every fault, and the account of them."""
        self._scripted.clear()

    @property
    def consumed(self) -> Counter[Fault]:
        """How often each fault has happened."""
        return Counter({each.fault: each.used for each in self._scripted if each.used})

    def unconsumed(self) -> list[Fault]:
        """Return the faults that have not happened as often as they should; with `times=None`, not at all."""
        return [each.fault for each in self._scripted if not each.used or (each.fault.times and not each.is_spent)]


def parse_fault(text: str) -> Fault:
    """Read a fault as the command line writes it.

        put:status=503,times=2,retry-after=1
        put:reset,after-bytes=65536
        list:empty-pages,times=forever

    Words before the first `=` sign are actions; `status` alone means `answer`; names that are no field are headers
    of the answer.

    Raises:
        ValueError: it cannot be read; the text says why.
    """
    operation, colon, rest = text.partition(":")
    if not colon or not rest:
        raise ValueError(f"a fault is written operation:action,…: {text!r}")
    settings = [piece.partition("=") for piece in rest.split(",")]
    actions = [name for name, equals, _ in settings if not equals]
    if len(actions) > 1:
        raise ValueError(f"a fault has one action: {text!r}")
    fault = Fault(operation, actions[0] if actions else "answer")  # type: ignore[arg-type]  # checked when made
    for name, equals, value in settings:
        if equals:
            fault = _with_setting(fault, name, value)
    return fault


def _with_setting(fault: Fault, name: str, value: str) -> Fault:
    key = name.replace("-", "_")
    match key:
        case "times":
            return replace(fault, times=None if value == "forever" else int(value))
        case "after" | "status" | "after_bytes":
            return replace(fault, **{key: int(value)})  # type: ignore[arg-type]  # the keys are integers
        case "seconds" | "bytes_per_second":
            return replace(fault, **{key: float(value)})  # type: ignore[arg-type]  # the keys are numbers
        case "match" | "body":
            return replace(fault, **{key: value})  # type: ignore[arg-type]  # the keys are texts
        case "keep":
            return replace(fault, keep=value.lower() in {"1", "true", "yes"})
        case _:
            return replace(fault, headers=(*fault.headers, (name, value)))
