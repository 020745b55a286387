"""Shells complete what rfbulk knows, by the scripts that it prints, really run; without loading what commands do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rfbulk.cli.main import COMMANDS, SINGLE

pytestmark = pytest.mark.slow
PROGRAM = Path(sys.executable).parent / "rfbulk"
Complete = Callable[[str], list[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A user who has sent two batches, brought one home, and has some files."""
    state = tmp_path / "state"
    for kind, name in (
        ("uploads", "spring-0123456789"),
        ("uploads", "summer-2-abcdef0123"),
        ("exports", "results-0000000000"),
    ):
        (state / kind).mkdir(parents=True, exist_ok=True)
        (state / kind / f"{name}.sqlite").touch()
    (tmp_path / "photos").mkdir()
    (tmp_path / "list.txt").touch()
    programs = f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
    values = {"PATH": programs, "HOME": str(tmp_path), "RFBULK_STATE_DIR": str(state), "LC_ALL": "C.UTF-8"}
    return values | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PWD": str(tmp_path)}


def said(environment: dict[str, str], *words: str) -> str:
    ended = subprocess.run(
        words, env=environment, cwd=environment["HOME"], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.stderr == "", ended
    return ended.stdout


@pytest.fixture
def bash(environment: dict[str, str], tmp_path: Path) -> Complete:
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    script = tmp_path / "rfbulk.bash"
    script.write_text(said(environment, "rfbulk", "completion", "bash"))

    def complete(line: str) -> list[str]:
        words = [*line.split(" ")]
        code = f"""
            source {script}
            COMP_WORDS=("$@"); COMP_CWORD={len(words) - 1}
            compopt() {{ printf 'compopt %s %s\\n' "$1" "$2"; }}
            _rfbulk_completion rfbulk
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        return said(environment, "bash", "-c", code, "bash", *words).split("\n")[:-1]

    return complete


CASES = [
    ("rfbulk ver", ["verify"]),
    ("rfbulk upload ", ["images", "query", "references", "videos"]),
    ("rfbulk upload images --retry", ["--retry-failed", "--retry-for"]),
    ("rfbulk upload images --names ", ["auto", "path", "basename"]),
    ("rfbulk upload images photos --batch-id s", ["spring", "summer-2"]),
    ("rfbulk batch show ", ["results", "spring", "summer-2"]),
    ("rfbulk verify su", ["summer-2"]),
    ("rfbulk export res", ["results"]),
    ("rfbulk checkpoint resume s", ["spring-0123456789", "summer-2-abcdef0123"]),
    ("rfbulk checkpoint forget res", ["results-0000000000"]),
    ("rfbulk job start images --mach", ["--machine", "--machine-type"]),
    ("rfbulk --state-dir /nowhere batch show ", [""]),
    ("rfbulk completion ", ["bash", "zsh", "fish"]),
    ("rfbulk upload images pho", ["compopt -o default", ""]),
    ("rfbulk export spring ", ["compopt -o dirnames", ""]),
]


@pytest.mark.parametrize(("line", "expected"), CASES, ids=[line for line, _ in CASES])
def test_bash_completes(bash: Complete, line: str, expected: list[str]) -> None:
    assert expected == bash(line)


def test_every_command_is_offered(bash: Complete) -> None:
    assert sorted([*COMMANDS, *SINGLE]) == sorted(bash("rfbulk "))
    for group, commands in COMMANDS.items():
        assert sorted(commands) == sorted(bash(f"rfbulk {group} "))


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish here")
def test_fish_completes(environment: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "rfbulk.fish"
    script.write_text(said(environment, "rfbulk", "completion", "fish"))
    found = said(environment, "fish", "-c", f"source {script}; complete -C 'rfbulk checkpoint resume s'")
    assert found.split() == ["spring-0123456789", "summer-2-abcdef0123"]
    found = said(environment, "fish", "-c", f"source {script}; complete -C 'rfbulk doc'")
    assert [line.split("\t")[0] for line in found.splitlines()] == ["doctor"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
def test_zsh_completes(environment: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "rfbulk.zsh"
    script.write_text(said(environment, "rfbulk", "completion", "zsh"))
    code = f"""
        autoload -U compinit && compinit -u -D
        source {script}
        compadd() {{ local name=$@[-1]; print -l -- ${{(P)name}} }}
        _describe() {{ local name=$3; print -l -- ${{(P)name}} }}
        words=(rfbulk checkpoint resume s); CURRENT=4
        _rfbulk_completion
    """
    found = said(environment, "zsh", "-f", "-c", code).split()
    assert {"spring-0123456789", "summer-2-abcdef0123"} <= set(found)


def test_nothing_heavy_is_loaded_once_the_outline_is_kept(environment: dict[str, str]) -> None:
    said(environment, "rfbulk", "completion", "bash")
    code = """
import os, sys
os.environ.update(COMP_WORDS="rfbulk upload images --na", COMP_CWORD="3", _RFBULK_COMPLETE="bash_complete")
from rfbulk.cli.main import main
try:
    main()
finally:
    heavy = {"aiohttp", "anyio", "asyncio", "msgspec", "orjson", "rich", "sqlite3", "uvloop", "rfbulk.cli.upload"}
    print("heavy", sorted(heavy & set(sys.modules)))
"""
    assert said(environment, sys.executable, "-c", code).split("\n")[:-1] == ["plain,--names", "heavy []"]


@pytest.mark.parametrize("kept", ["{", "[]", '{"stamp": "of another rfbulk", "root": {}}'])
def test_an_outline_of_another_rfbulk_is_made_anew(bash: Complete, environment: dict[str, str], kept: str) -> None:
    path = Path(environment["XDG_CACHE_HOME"]) / "rfbulk" / "commands.json"
    path.write_text(kept)
    assert bash("rfbulk ver") == ["verify"]
    assert "verify" in json.loads(path.read_bytes())["root"]["commands"]


def test_where_nothing_can_be_kept_it_completes_all_the_same(bash: Complete, environment: dict[str, str]) -> None:
    environment["XDG_CACHE_HOME"] = "/dev/null"
    assert bash("rfbulk ver") == ["verify"]
