"""A look at the surroundings: each thing that may be wrong is really made wrong, and told with what to do."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rfbulk.core.checkup import Health
from rfbulk.core.urls import url_of
from rfbulk.emulator import Emulator, EmulatorOptions
from tests.crash.commands import KEY, Commands, Ended
from tests.support.tls_front import tls_front

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """One loop is enough: the commands bring their own."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture
def options() -> EmulatorOptions:
    return EmulatorOptions(api_key=KEY)


@pytest.fixture
def commands(emulator: Emulator, tmp_path: Path) -> Iterator[Commands]:
    commands = Commands(emulator.url, tmp_path / "home")
    commands.home.mkdir()
    yield commands
    commands.look_for_secrets()


def health_of(ended: Ended, subject: str) -> tuple[str, str]:
    (found,) = [each for each in ended.lines if each["subject"] == subject]
    return found["health"], found["detail"]


def ill(ended: Ended) -> list[str]:
    return [each["subject"] for each in ended.lines if each["health"] == Health.ILL]


async def test_where_all_is_well_it_says_so(commands: Commands) -> None:
    ended = await commands.run("doctor", "--json")
    assert (ended.code, ill(ended), ended.err) == (0, [], "")
    assert "workspace emulator" in health_of(ended, "api key accepted")[1]
    assert health_of(ended, "api key") == ("well", "found in ROBOFLOW_API_KEY")
    plain = await commands.run("doctor")
    assert "ok   api key accepted: workspace emulator" in plain.out
    assert sorted((commands.state).glob(".doctor*")) == []
    quiet = await commands.run("doctor", "--quiet")
    assert "ok  " not in quiet.out


async def test_a_key_that_is_not_taken(commands: Commands) -> None:
    commands.key = "another"
    ended = await commands.run("doctor", "--json")
    assert (ended.code, ill(ended)) == (4, ["api key accepted"])


async def test_no_key_at_all_still_looks_at_the_line(commands: Commands) -> None:
    commands.key = None
    ended = await commands.run("doctor", "--json")
    assert (ended.code, ill(ended)) == (2, ["api key"])
    assert health_of(ended, "connection of the service")[0] == "well"


async def test_a_service_that_is_not_there(commands: Commands) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        commands.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        ended = await commands.run("doctor", "--json")
    assert (ended.code, ill(ended)) == (5, ["connection of the service"])
    commands.url = "https://no-such-host.invalid"
    ended = await commands.run("doctor", "--json")
    assert (ended.code, ill(ended)) == (5, ["name of the service"])


async def test_an_address_that_is_none(commands: Commands) -> None:
    commands.url = "nonsense"
    ended = await commands.run("doctor", "--json")
    assert (ended.code, ill(ended)) == (2, ["address of the service"])


async def test_a_service_in_trouble(commands: Commands, emulator: Emulator) -> None:
    emulator.faults.add("workspace:status=503,times=forever")
    ended = await commands.run("doctor", "--json")
    assert (ended.code, ill(ended)) == (5, ["service"])


@pytest.mark.parametrize("options", [EmulatorOptions(api_key=KEY, date_skew_seconds=-3600)])
async def test_a_clock_that_is_wrong(commands: Commands) -> None:
    ended = await commands.run("doctor", "--json")
    health, detail = health_of(ended, "clock")
    assert (ended.code, health) == (0, "doubtful")
    assert detail.endswith("s ahead of the service's")


async def test_a_proxy_is_told_without_its_password(commands: Commands) -> None:
    proxy = "http://me:hunter2@proxy.example:3128"
    ended = await commands.run("doctor", "--json", https_proxy=proxy, no_proxy="internal.example")
    health, detail = health_of(ended, "proxy")
    assert (health, "https by proxy.example:3128 (with a password)" in detail) == ("noted", True)
    assert "internal.example" in detail
    assert "hunter2" not in ended.out + ended.err
    commands.url = "https://no-such-host.invalid"
    ended = await commands.run("doctor", "--json", https_proxy="http://me:hunter2@127.0.0.1:1")
    assert (ended.code, ill(ended)) == (5, ["connection of the service"])
    assert "hunter2" not in ended.out + ended.err


async def test_authorities_that_cannot_be_read(commands: Commands, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    ended = await commands.run("doctor", "--json", "--ca-file", bad)
    assert (ended.code, ill(ended)) == (2, ["way to the service"])


async def test_a_certificate_that_nobody_vouches_for(commands: Commands, emulator: Emulator, tmp_path: Path) -> None:
    with tls_front(tmp_path, url_of(emulator.url).port) as (address, authority):
        commands.url = address
        ended = await commands.run("doctor", "--json")
        assert (ended.code, ill(ended)) == (5, ["certificate of the service"])
        ended = await commands.run("doctor", "--json", "--ca-file", authority)
        assert (ended.code, ill(ended)) == (0, [])
        assert health_of(ended, "certificate authorities")[1].endswith(f"--ca-file {authority}")


async def test_a_state_folder_that_cannot_be_used(commands: Commands, tmp_path: Path) -> None:
    file = tmp_path / "a-file"
    file.touch()
    ended = await commands.run("doctor", "--json", "--state-dir", file)
    assert (ended.code, ill(ended)) == (2, ["state folder"])


async def test_few_open_files(commands: Commands) -> None:
    shell = ("/bin/sh", "-c", 'ulimit -n 200; exec "$0" -m rfbulk "$@"', sys.executable)
    ended = await commands.run("doctor", "--json", program=shell)
    assert (ended.code, health_of(ended, "open files")[0]) == (0, "doubtful")


async def test_credentials_are_named_and_not_shown(commands: Commands) -> None:
    (commands.home / ".aws").mkdir()
    (commands.home / ".aws" / "credentials").write_text("[default]\naws_secret_access_key = s3cr3t\n")
    ended = await commands.run(
        "doctor", "--json", AWS_ACCESS_KEY_ID="AKIAEXAMPLE", AZURE_STORAGE_CONNECTION_STRING="AccountKey=k3y"
    )
    detail = health_of(ended, "cloud credentials")[1]
    assert detail == "s3:// AWS_ACCESS_KEY_ID, ~/.aws/credentials; az:// AZURE_STORAGE_CONNECTION_STRING"
    assert all(secret not in ended.out for secret in ("AKIAEXAMPLE", "s3cr3t", "k3y"))


async def test_it_works_with_the_emulator(commands: Commands) -> None:
    commands.key = None
    ended = await commands.run("--emulator", "doctor", "--json")
    assert (ended.code, ill(ended)) == (0, [])
