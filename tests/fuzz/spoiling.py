"""Bytes as strangers send them: samples that were spoiled, JSON with values of another kind, depths, lengths, noise."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

NASTY = (
    *(
        b"",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b'"',
        b"{",
        b"[",
        b"}",
        b"]",
        b",",
        b":",
        b"%",
    ),
    *(b"null", b"true", b"-1", b"0", b"1e999", b"-1e999", b"NaN", b"123456789012345678901234567890", b"9" * 5000),
    *(b'"\\ud800"', b"\\u0000", b"\xed\xa0\x80", "İ".encode(), "\u202e".encode(), b"../", b"/", b"\\", b"..", b"C:"),
    *(b"<!DOCTYPE html><html>", b"<Code>", b"&#x0;", b"%00", b"[" * 3000, b'{"a":' * 3000, b" " * 4000, b"1" * 20),
    *(b"Content-Length: 18446744073709551616\r\n", b"Transfer-Encoding: chunked\r\n", b"\x80" + b"\xff" * 11),
    *(b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59", b"x" * 70_000),
)


def _deep(depth: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


WEIRD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1 << 63, 1 << 64, -(1 << 70), 10**300, 0.5, -0.0, 1e308, float("inf"), float("nan")),
    *("", " ", "a" * 5000, "\ud800", "\0", "\x1b[2J", "../../x", "https://[::1", "http://u@h/", "\U0010ffff" * 90, "1"),
    *([], {}, [[]], [None] * 50, {"": None}, {"error": {"message": {}}}, [{}], ["a", 1], {"message": ["x"]}),
    *(_deep(depth, lambda inner: [inner]) for depth in (10, 250, 500, 1000, 20_000)),
    *(_deep(depth, lambda inner: {"message": inner}) for depth in (10, 250, 500, 1000, 20_000)),
)
"""What may stand in the place of any value, and hardly ever does."""


@st.composite
def spoiled(draw: st.DrawFn, samples: tuple[bytes, ...]) -> bytes:
    """A sample with up to six injuries."""
    data = draw(st.sampled_from(samples))
    for _ in range(draw(st.integers(1, 6))):
        start, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        match draw(st.sampled_from("xcdriwn")):
            case "x":
                data = _flipped(data, start, draw(st.integers(0, 7)))
            case "c":
                data = data[:end]
            case "d":
                data = data[:start] + data[end:]
            case "r":
                data = data[:end] + data[start:end][:5000] + data[end:]
            case "i":
                data = data[:start] + draw(st.sampled_from(NASTY)) + data[start:]
            case "w":
                data = data[:start] + draw(st.sampled_from(NASTY)) + data[end:]
            case _:
                data = data[:start] + draw(st.binary(max_size=16)) + data[start:]
    return data


def _flipped(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :] if at < len(data) else data


@st.composite
def retyped(draw: st.DrawFn, samples: tuple[bytes, ...]) -> bytes:
    """JSON that is well formed, with some values of another kind, and every name twice at times."""
    value = json.loads(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(1, 3))):
        way = draw(st.sampled_from(sorted(ways_into(value), key=repr)))
        value = with_value(value, way, draw(st.sampled_from(WEIRD) | st.text(max_size=9) | st.integers() | st.floats()))
    return as_json(value, doubled=draw(st.booleans()))


Way = tuple[str | int, ...]


def ways_into(value: Any, *, most_depth: int = 8) -> Iterator[Way]:
    """Every place of a value, the value itself first."""
    yield ()
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if most_depth:
        yield from ((step, *way) for step, inner in steps for way in ways_into(inner, most_depth=most_depth - 1))


def with_value(value: Any, way: Way, new: Any) -> Any:
    """The same, but for one place."""
    if not way:
        return new
    changed: Any = dict(value) if isinstance(value, dict) else list(value)
    changed[way[0]] = with_value(changed[way[0]], way[1:], new)
    return changed


def without(value: Any, way: Way) -> Any:
    """The same, but for one place that is left out."""
    changed: Any = dict(value) if isinstance(value, dict) else list(value)
    if len(way) == 1:
        del changed[way[0]]
    else:
        changed[way[0]] = without(changed[way[0]], way[1:])
    return changed


def as_json(value: Any, *, doubled: bool = False) -> bytes:
    """JSON, with each name of the outer object twice if that is asked for."""
    text = _text(value)
    if doubled and text.startswith("{") and len(text) > 2:
        text = "{" + text[1:-1] + "," + text[1:]
    return text.encode("utf-8", "surrogatepass")


def _text(value: Any) -> str:
    """JSON by hand: the encoder of Python gives up where the depth begins to be interesting."""
    if isinstance(value, dict):
        if list(value) == ["message"]:
            return _text_of_depth(value, "message", '{"message":', "}")
        return "{" + ",".join(f"{json.dumps(key)}:{_text(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        if len(value) == 1:
            return _text_of_depth(value, 0, "[", "]")
        return "[" + ",".join(map(_text, value)) + "]"
    return json.dumps(value)


def _text_of_depth(value: Any, step: Any, opening: str, closing: str) -> str:
    depth = 0
    kind = type(value)
    while isinstance(value, kind) and len(value) == 1 and (kind is list or step in value):
        value = value[step]
        depth += 1
    return opening * depth + _text(value) + closing * depth


def foreign(samples: tuple[bytes, ...], *, is_json: bool) -> st.SearchStrategy[bytes]:
    """All of it."""
    ways = [spoiled(samples), st.binary(max_size=300), st.sampled_from(NASTY)]
    return st.one_of(retyped(samples), *ways) if is_json else st.one_of(*ways)
