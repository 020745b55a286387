"""The picture of the house, held: which room may know which, and where each third-party library lives."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "rfbulk"
MODULES = sorted(PACKAGE.rglob("*.py"))

LOWEST = {"core", "errors", "events", "settings"}
FLOORS = {
    # an error carries the report of what was done
    "errors": {"core.report", "core.export_report", "core.ingest_report", "core.run_report"},
    "events": {"core.report", "core.export_report", "core.pacing"},
    "settings": {"core", "errors"},
    "core": {"core", "errors"},
    "edge": {"__version__", "edge"} | LOWEST,
    "pipeline": {"pipeline"} | LOWEST,
    "senders": {"senders", "workers", "core", "edge", "errors", "settings"},
    "receivers": {"receivers", "workers", "core", "edge", "errors", "settings"},
    # the child loads the road that it is used for
    "workers": {"workers", "senders.attempts", "receivers.groups", "core", "edge", "errors"},
    # its workers do what processes of ours do, and are told by words of their own
    "cluster": {"__version__", "cluster", "senders", "receivers", "core", "edge", "errors", "settings"},
    "client": {"client", "pipeline", "edge", "senders", "receivers", "workers", "cluster"} | LOWEST,
    # made of events alone, so that an application can have it without the rest
    "metrics": {"__version__", "metrics", "core.forecast", "errors", "events"},
    # it is told events and reads nothing: the command line joins it to what it shows
    "dashboard": {"dashboard", "core", "errors", "events"},
    "emulator": {"emulator"},
    "cli": {
        "__version__",
        "cli",
        "workers.starting",
        "client",
        "pipeline.preview",
        "dashboard",
        "metrics",
        "edge",
        "emulator",
    }
    | LOWEST,
    # what stands there is what anybody can write
    "examples": {"rfbulk"},
    "": {"client"} | LOWEST,
    "__main__": {"cli"},
}
"""What each floor may import of rfbulk; `""` is what the package itself says."""

LIBRARIES = {
    "aiofiles": {"edge"},
    "aiohttp": {"dashboard", "edge", "emulator", "examples"},
    "anyio": {
        "client",
        "pipeline",
        "edge",
        "senders",
        "receivers",
        "workers",
        "cluster",
        "emulator",
        "cli",
        "dashboard",
    },
    "click": {"cli"},
    "crc32c": {"core.checksums", "emulator"},
    "dask": {"cluster"},
    "distributed": {"cluster"},
    "msgspec": {
        "events",
        "client",
        "pipeline",
        "core",
        "edge",
        "senders",
        "receivers",
        "workers",
        "cluster",
        "emulator",
        "cli",
        "dashboard",
    },
    "multidict": {"edge", "emulator"},
    "obstore": {"edge"},
    "orjson": {"core.wire", "edge", "emulator", "cli"},
    "platformdirs": {"client.context", "cli"},
    "prometheus_client": {"metrics"},
    "rich": {"cli"},
    "sqlite3": {"edge", "emulator"},
    "uvloop": {"cli"},
    "yarl": {"emulator"},
}
"""In which rooms each library lives. sqlite3 comes with Python and is held to its room all the same."""

WAITING = {"aiofiles", "anyio", "asyncio", "concurrent", "multiprocessing", "queue", "select", "selectors", "threading"}
OUTSIDE = {"io", "os", "pathlib", "shutil", "signal", "socket", "ssl", "subprocess", "tempfile"}
CHANCE = {"random", "secrets", "time", "uuid"}
"""What waits, touches the outside, or differs from run to run: nothing for the floor that decides."""


@cache
def nodes_of(module: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(module.read_bytes())))


def name_of(module: Path) -> str:
    """A module within rfbulk, as `core.wire`."""
    return ".".join(module.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def imports_of(module: Path) -> Iterator[str]:
    """Every module that is imported anywhere in it, also for types alone: knowing is knowing."""
    for node in nodes_of(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports say where from in full"
            source = str(node.module)
            inner = PACKAGE.parent.joinpath(*source.split("."))
            for alias in node.names:
                is_module = (inner / f"{alias.name}.py").exists() or (inner / alias.name).is_dir()
                yield f"{source}.{alias.name}" if is_module or source == "rfbulk" else source


def is_within(name: str, rooms: set[str]) -> bool:
    return any(name == room or (room and name.startswith(f"{room}.")) for room in rooms)


def floor_of(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: name_of(module) or "rfbulk")
def test_a_module_knows_only_the_floors_below_it(module: Path) -> None:
    name = name_of(module)
    allowed = FLOORS[floor_of(name)]
    inner = {found.removeprefix("rfbulk.") for found in imports_of(module) if floor_of(found) == "rfbulk"}
    assert set() == {found for found in inner if not is_within(found, allowed)}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: name_of(module) or "rfbulk")
def test_each_library_stays_in_its_rooms(module: Path) -> None:
    name = name_of(module)
    libraries = {floor_of(found) for found in imports_of(module)} - {"rfbulk"}
    foreign = {library for library in libraries if library in LIBRARIES or library not in sys.stdlib_module_names}
    assert set() == {library for library in foreign if not is_within(name, LIBRARIES.get(library, set()))}


@pytest.mark.parametrize("module", sorted(PACKAGE.glob("core/*.py")), ids=name_of)
def test_the_floor_that_decides_touches_nothing(module: Path) -> None:
    assert set() == {floor_of(found) for found in imports_of(module)} & (WAITING | OUTSIDE | CHANCE)
    nodes = nodes_of(module)
    assert [node.lineno for node in nodes if isinstance(node, ast.Await | ast.AsyncFunctionDef)] == []
    calls = [node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    assert set() == {"open", "print", "input", "exec", "eval"} & set(calls)


def test_every_room_has_its_rule() -> None:
    assert set(FLOORS) == {floor_of(name_of(module)) for module in MODULES}


def test_only_the_command_line_prints() -> None:
    printing = {
        name_of(module)
        for module in MODULES
        for node in nodes_of(module)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert set() == {name for name in printing if floor_of(name) != "cli"}
