"""Every error says what failed, on what, why, and what to do next: where it is raised, and as it is printed."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from rfbulk import errors
from rfbulk.cli.running import exit_code_of
from rfbulk.errors import RfbulkError

PACKAGE = Path(__file__).parent.parent / "rfbulk"
MODULES = sorted(PACKAGE.rglob("*.py"))
KINDS = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, RfbulkError)}


def constructions(module: Path) -> Iterator[ast.Call]:
    """Every place in a module that makes one of our errors; click has a `UsageError` of its own."""
    for node in ast.walk(ast.parse(module.read_bytes())):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            owner = getattr(function.value, "id", "") if isinstance(function, ast.Attribute) else ""
            if name in KINDS and owner != "click":
                yield node


def is_said(node: ast.expr | None) -> bool:
    return node is not None and not (isinstance(node, ast.Constant) and not node.value)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_every_error_names_operation_cause_and_what_to_do_next(module: Path) -> None:
    for call in constructions(module):
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        where = f"line {call.lineno}: {ast.unparse(call)}"
        assert call.args, where
        assert is_said(call.args[0]), where
        assert is_said(given.get("cause")), where
        assert is_said(given.get("advice")), where


def test_the_walk_finds_errors() -> None:
    """A check that finds nothing would hold whatever is written."""
    assert sum(1 for module in MODULES for _ in constructions(module)) > 150
    assert len(KINDS) == 12


@pytest.mark.parametrize("kind", KINDS.values())
def test_every_kind_prints_all_four_parts_on_one_line_and_has_an_exit_code(kind: type[RfbulkError]) -> None:
    error = kind("send", "shard 7", cause="the line is down", advice="run the same again")
    assert str(error) == "send shard 7: the line is down (run the same again)"
    assert 1 <= exit_code_of(error) <= 7
    assert kind.__name__ in str(errors.__doc__), "the tree in the docstring shows it"


def test_parts_that_are_not_there_leave_no_trace() -> None:
    assert str(RfbulkError("start", cause="there is no key")) == "start: there is no key"
    assert str(RfbulkError("start")) == "start"
