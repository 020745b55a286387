"""Compile the C programs of the benchmarks, start those that serve, and question them."""

from __future__ import annotations

import http.client
import platform
import subprocess
from typing import TYPE_CHECKING, Self

from benchmarks.bench import HOME

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class CannotCompile(Exception):
    """A program of the benchmarks does not compile on this machine."""


class Server:
    """A running server. It ends with its context, or with this process."""

    def __init__(self, name: str, build: Path, *arguments: str, has_tls: bool = False) -> None:
        self._command = (str(compiled(name, build, has_tls=has_tls)), *arguments)
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._process.stdout is None:
            raise RuntimeError("the server has no output")
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.communicate("")  # the end of its input ends it

    def ask(self, method: str, target: str) -> bytes:
        """Send one request and return the body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, target)
            return connection.getresponse().read()
        finally:
            connection.close()


def compiled(name: str, build: Path, *, has_tls: bool = False) -> Path:
    """Compile one of the C programs beside this file, unless it is newer than its sources. TLS wants OpenSSL's headers.

    Raises:
        CannotCompile: it does not compile here.
    """
    program = build / (f"{name}-tls" if has_tls else name)
    sources = [HOME / f"{name}.c", *HOME.glob("*.h")]
    if program.exists() and program.stat().st_mtime > max(source.stat().st_mtime for source in sources):
        return program
    build.mkdir(parents=True, exist_ok=True)
    flags = ["-O2", "-Wall", "-Wextra", "-pthread"]
    if platform.machine() == "aarch64":
        flags.append("-march=armv8-a+crc")
    libraries = ["-DWITH_TLS", "-lssl", "-lcrypto"] if has_tls else []
    try:
        subprocess.run(["cc", *flags, "-o", program, sources[0], *libraries], check=True)
    except FileNotFoundError:
        raise SystemExit("benchmarks need a C compiler: there is no `cc`") from None
    except subprocess.CalledProcessError:
        raise CannotCompile(f"{sources[0].name} does not compile{' with OpenSSL' if has_tls else ''}") from None
    return program
