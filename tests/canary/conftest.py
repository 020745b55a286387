"""A service whose every secret is known, and a user who has some more."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rfbulk.emulator import EmulatorOptions, JobOptions, JobScript
from rfbulk.emulator.signing import Signer, UrlGrant
from tests.canary.looking import Canaries, Processes, watched
from tests.crash.commands import RFBULK, Commands, Ended

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "canary-key/9f2c41d7+e6b05a38"
PUBLISHABLE = "rf_canary-publishable-7f3a"
PLANTED = "deadbeefcafe0123" * 4
"""A signature in what strangers say: a list of the user's, the body of a refusal, a grant that is none."""

OTHERS = {
    "AWS_SECRET_ACCESS_KEY": "canary+aws/secret+0123456789abcdefghij",
    "AWS_SESSION_TOKEN": "canary-aws-session-token-0123456789",
    "AZURE_STORAGE_KEY": "Y2FuYXJ5LWF6dXJlLWtleS0wMTIzNDU2Nzg5",
    "GOOGLE_SERVICE_ACCOUNT_KEY": '{"private_key": "canary-google-private-key-01"}',
    "SOMEBODYS_TOKEN": "canary-of-another-program-0123",
}
PROXY_PASSWORD = "canary-proxy-password-77"
OWN_FILES = (".key", ".pem")
"""Files of the user's with secrets in them end so. All else is ours to keep clean."""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": False}


@pytest.fixture
def canaries(monkeypatch: pytest.MonkeyPatch) -> Canaries:
    """All secrets that there are; each signature as soon as the service has made it."""
    found = Canaries()
    for name, secret in {"api key": KEY, "publishable key": PUBLISHABLE, "proxy": PROXY_PASSWORD, **OTHERS}.items():
        found.add(name, secret)
    found.add_signature_of(f"X-Goog-Signature={PLANTED}")
    sign: Callable[[Signer, UrlGrant, float], str] = Signer.sign

    def signed(self: Signer, grant: UrlGrant, now: float) -> str:
        url = sign(self, grant, now)
        found.add_signature_of(url)
        return url

    monkeypatch.setattr(Signer, "sign", signed)
    return found


@pytest.fixture
def options() -> EmulatorOptions:
    return EmulatorOptions(api_key=KEY, page_size=20, jobs=JobOptions(JobScript(seconds=0.2), task_files=4))


@dataclass(slots=True)
class Listener:
    """Says commands and keeps every byte that anybody could read of them."""

    commands: Commands
    canaries: Canaries
    logs: Path
    processes: Processes = field(default_factory=Processes)
    names: Iterator[int] = field(default_factory=itertools.count)

    async def run(
        self,
        *arguments: str | Path,
        program: tuple[str, ...] = RFBULK,
        talks: bool = True,
        environment: dict[str, str] | None = None,
    ) -> Ended:
        """Run a command as loudly as it can be, with a log, and look at its processes meanwhile."""
        log: list[str | Path] = ["-vv", "--log-file", self.logs / f"{next(self.names)}.jsonl"] if talks else []
        given = OTHERS | {"TMPDIR": str(self.logs)} | (environment or {})
        async with (
            self.commands.started(*arguments, *log, program=program, cwd=None, **given) as running,
            watched(running.process.pid, self.processes),
        ):
            return await running.ended()

    def is_clean(self, *, unfinished: bool = False) -> None:
        """Fail if a secret is anywhere. What a transfer has not finished may still have its signed URLs."""
        found = self.canaries.look_into(self.commands.home, except_for=OWN_FILES)
        if unfinished:
            of_urls = {path: {each for each in names if "signature" not in each} for path, names in found.items()}
            found = {path: of_urls[path] if "/uploads/" in path else names for path, names in found.items()}
        assert {path: names for path, names in found.items() if names} == {}
        assert set().union(*map(self.canaries.within, self.processes.command_lines)) == set()
        assert set().union(*map(self.canaries.within, self.processes.environments)) == set()


def listener_for(url: str, home: Path, canaries: Canaries) -> Listener:
    """A user with a folder of their own."""
    home.mkdir(parents=True)
    (home / "logs").mkdir()
    return Listener(Commands(url, home, KEY), canaries, home / "logs")
