"""Real processes, real clusters of several, one service, and its account of what arrived."""

from __future__ import annotations

from tests.crash import conftest as crash

anyio_backend, options = crash.anyio_backend, crash.options  # fixtures
emulator, commands = crash.emulator, crash.commands
