"""Faults as the command line writes them."""

from __future__ import annotations

from dataclasses import replace

from rfbulk.emulator.faults import Fault


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
