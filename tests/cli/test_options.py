from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from rfbulk.cli.options import (
    AUTO_OR_NUMBER,
    DURATION,
    SIZE,
    Globals,
    global_options,
    globals_of,
    parse_duration,
    parse_size,
)

NONSENSE = ["", " ", "MiB", "-1", "1e3", "1,5", ".5", "1.", "64 M iB", "64i", "64iB", "6 4", "٣", "nan", "inf", "1k\n2"]


def is_refused(read: Callable[[str], object], text: str, why: str) -> bool:
    try:
        read(text)
    except ValueError as error:
        return why in str(error)
    return False


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4096", 4096),
        ("4096B", 4096),
        ("64MiB", 64 << 20),
        ("64M", 64 << 20),
        ("64MB", 64_000_000),
        ("64mib", 64 << 20),
        ("64Mi", 64 << 20),
        (" 1.5 KiB ", 1536),
        ("1.5kB", 1500),
        ("2g", 2 << 30),
        ("1TB", 10**12),
        ("0", 0),
    ],
)
def test_a_size_is_read_as_its_unit_says(text: str, expected: int) -> None:
    assert expected == parse_size(text)


@given(st.integers(0, 10**18 - 1))
@example(9_007_199_254_740_993)
def test_bytes_are_read_to_the_byte(number: int) -> None:
    assert number == parse_size(str(number))
    assert number << 10 == parse_size(f"{number}KiB")


@given(st.integers(0, 10**6), st.sampled_from("kmgt"), st.sampled_from(["", "i", "b", "ib"]))
def test_upper_and_lower_case_mean_the_same(number: int, unit: str, rest: str) -> None:
    text = f"{number}{unit}{rest}"
    assert parse_size(text.lower()) == parse_size(text.upper())


@pytest.mark.parametrize("text", [*NONSENSE, "1PB", "5m5", "9" * 400])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no size: write it as 64MiB"):
        parse_size(text)


@given(st.text())
@example("9" * 400)
@example("9" * 5000 + "T")
def test_any_text_is_a_size_or_is_refused(text: str) -> None:
    assert is_refused(parse_size, text, "is no size") or parse_size(text) >= 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90.0),
        ("500ms", 0.5),
        ("5m", 300.0),
        ("1.5h", 5400.0),
        ("1D", 86_400.0),
        (" 2 s ", 2.0),
        ("0", 0.0),
    ],
)
def test_a_duration_is_read_in_seconds(text: str, expected: float) -> None:
    assert expected == parse_duration(text)


@pytest.mark.parametrize("text", [*NONSENSE, "5min", "1h30m", "1w", "9" * 400])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration: write it as 5m"):
        parse_duration(text)


@given(st.text())
@example("9" * 400 + "d")
def test_any_text_is_a_duration_or_is_refused(text: str) -> None:
    assert is_refused(parse_duration, text, "is no duration") or 0 <= parse_duration(text) < float("inf")


@pytest.mark.parametrize(("text", "expected"), [("auto", None), ("AUTO", None), ("1", 1), ("64", 64)])
def test_a_concurrency_is_auto_or_a_number(text: str, expected: int | None) -> None:
    assert expected == AUTO_OR_NUMBER.convert(text, None, None)


@pytest.mark.parametrize("text", ["0", "00", "-1", "1.5", "", "²", "٣", "many", "9" * 5000])
def test_any_other_concurrency_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is neither auto nor a number from 1"):
        AUTO_OR_NUMBER.convert(text, None, None)


def test_a_default_is_taken_as_it_is() -> None:
    assert SIZE.convert(5, None, None) == 5
    assert DURATION.convert(1.5, None, None) == 1.5


def seen_by(*arguments: str) -> Globals:
    """What a command below a group sees of the shared options."""
    found: list[Globals] = []

    @click.group()
    @global_options
    def group() -> None: ...

    @group.command()
    @global_options
    @click.pass_context
    def command(context: click.Context) -> None:
        found.append(globals_of(context))

    result = CliRunner().invoke(group, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return found[0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["command"], {}),
        (["--json", "command"], {"json": True}),
        (["command", "--json"], {"json": True}),
        (["--workspace", "a", "command"], {"workspace": "a"}),
        (["--workspace", "a", "command", "--workspace", "b"], {"workspace": "b"}),
        (["-vv", "command"], {"verbose": 2}),
        (["--state-dir", "s", "command", "-q"], {"state_dir": Path("s"), "quiet": True}),
    ],
)
def test_shared_options_stand_before_or_behind_the_command(arguments: list[str], expected: dict[str, Any]) -> None:
    assert Globals(**expected) == seen_by(*arguments)
