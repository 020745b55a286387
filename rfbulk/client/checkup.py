"""A look at all that a transfer needs, one thing after the other, each told as it is found."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from rfbulk.client.context import state_dir
from rfbulk.client.front import Client
from rfbulk.core.checkup import (
    Finding,
    Health,
    finding_of_file_system,
    finding_of_files,
    finding_of_room,
    finding_of_skew,
)
from rfbulk.core.retry import RetryPolicy
from rfbulk.core.urls import Url, url_of
from rfbulk.core.wording import plain, size
from rfbulk.edge import surroundings
from rfbulk.edge.proxies import proxies_from
from rfbulk.edge.reaching import Step, reach
from rfbulk.edge.ways import ways_of
from rfbulk.errors import NotAuthorised, ProtocolError, RfbulkError, TroublePassing, UsageError
from rfbulk.settings import DEFAULT_API_URL, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

FAILED: Final = 1
USAGE: Final = 2
NOT_AUTHORISED: Final = 4
UNREACHABLE: Final = 5
STORE_OF_ROBOFLOW: Final = "https://storage.googleapis.com/"
"""Whither the service's grants lead; where it is another, only a grant tells."""

CONNECT_SECONDS: Final = 10.0
PATIENCE: Final = RetryPolicy(first_seconds=0.5, cap_seconds=2.0, budget_seconds=3.0)


@dataclass(frozen=True, slots=True)
class Patient:
    """What is looked at: the settings, and the api key with the place where it was found."""

    settings: Settings
    api_key: str
    key_from: str


async def check_up(patient: Patient) -> AsyncIterator[Finding]:
    """Look at everything, and give each finding as it is there."""
    for finding in [*_versions(), *await anyio.to_thread.run_sync(partial(list, _machine(patient.settings)))]:
        yield finding
    for finding in _credentials(os.environ, Path.home()):
        yield finding
    yield _key(patient)
    try:
        url = url_of(patient.settings.api_url)
    except ValueError as error:
        advice = "write it as https://host; see ROBOFLOW_API_URL, API_BASE_URL and --api-url"
        yield Finding("address of the service", Health.ILL, str(error), advice, USAGE)
        return
    for finding in await anyio.to_thread.run_sync(partial(_reached, url, patient.settings), abandon_on_cancel=True):
        yield finding
        if finding.health is Health.ILL:
            return
    if patient.api_key:
        for finding in await _asked(patient):
            yield finding


# this machine


def _versions() -> Iterator[Finding]:
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("rfbulk", Health.WELL, f"{surroundings.OWN_VERSION}, {python}")
    found = {name: surroundings.version_of(name) for name in surroundings.LIBRARIES}
    missing = [name for name, version in found.items() if version is None]
    shown = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    if missing:
        advice = "pip install uvloop: transfers need less of the processor with it"
        yield Finding("libraries", Health.DOUBTFUL, f"{shown}; missing: {', '.join(missing)}", advice)
    else:
        yield Finding("libraries", Health.WELL, shown)
    extras = {extra: surroundings.version_of(library) for extra, library in surroundings.EXTRAS.items()}
    there = [f"{extra} ({surroundings.EXTRAS[extra]} {version})" for extra, version in extras.items() if version]
    absent = [extra for extra, version in extras.items() if version is None]
    detail = f"installed: {', '.join(there) or 'none'}" + (f"; not: {', '.join(absent)}" if absent else "")
    advice = f"pip install 'rfbulk[{','.join(absent)}]' where they are wanted" if absent else ""
    yield Finding("extras", Health.NOTED if absent else Health.WELL, detail, advice)


def _machine(settings: Settings) -> Iterator[Finding]:
    folder = state_dir(settings)
    try:
        took = surroundings.try_state_folder(folder)
        yield Finding("state folder", Health.WELL, f"{plain(str(folder))}: written and locked, synced in {_ms(took)}")
        yield finding_of_file_system(surroundings.file_system_of(folder), str(folder))
        free = surroundings.free_bytes(folder)
        yield finding_of_room(free, size(free))
    except (RfbulkError, OSError) as error:
        advice = "name a folder of yours with RFBULK_STATE_DIR, or --state-dir"
        yield Finding("state folder", Health.ILL, plain(str(error)), advice, USAGE)
    limits = surroundings.open_file_limits()
    if limits is not None:
        yield finding_of_files(*limits)


def _credentials(environment: Mapping[str, str], home: Path) -> Iterator[Finding]:
    found = surroundings.credentials(environment, home)
    shown = "; ".join(f"{cloud}:// {', '.join(names)}" for cloud, names in found.items())
    yield Finding("cloud credentials", Health.WELL if found else Health.NOTED, shown or "none; only buckets need them")


def _key(patient: Patient) -> Finding:
    if patient.api_key:
        return Finding("api key", Health.WELL, f"found in {plain(patient.key_from)}")
    advice = "set ROBOFLOW_API_KEY, or name a file with --api-key-file"
    return Finding("api key", Health.ILL, patient.key_from or "there is none", advice, USAGE)


# the line


def _reached(url: Url, settings: Settings) -> list[Finding]:
    try:
        ways = ways_of(os.environ, connect_seconds=CONNECT_SECONDS, ca_file=settings.ca_file)
        ways.tls_context()
        findings = [_proxies(url), *_authorities(settings)]
        findings += _steps("service", url, reach(url, ways, CONNECT_SECONDS))
        if any(each.health is Health.ILL for each in findings) or settings.api_url != DEFAULT_API_URL:
            return findings
        store = url_of(STORE_OF_ROBOFLOW)
        return findings + _steps("store", store, reach(store, ways, CONNECT_SECONDS))
    except UsageError as error:
        return [Finding("way to the service", Health.ILL, plain(str(error)), error.advice, USAGE)]


def _proxies(url: Url) -> Finding:
    proxies = proxies_from(os.environ)
    bypass = f"; without one: {plain(proxies.bypass)}" if proxies.bypass else ""
    if not proxies.by_scheme:
        return Finding("proxy", Health.WELL, f"none is set{bypass}")
    leading = proxies.lead_to(url.scheme, url.host, url.port)
    shown = ", ".join(f"{scheme} by {proxy.place}" for scheme, proxy in proxies.by_scheme.items())
    has_key = any(proxy.userinfo for proxy in proxies.by_scheme.values())
    used = "the service is reached by it" if leading is not None else "the service is reached without it"
    return Finding("proxy", Health.NOTED, f"{shown}{' (with a password)' if has_key else ''}: {used}{bypass}")


def _authorities(settings: Settings) -> list[Finding]:
    named = [f"SSL_CERT_FILE {os.environ['SSL_CERT_FILE']}"] if os.environ.get("SSL_CERT_FILE") else []
    named += [f"--ca-file {settings.ca_file}"] if settings.ca_file is not None else []
    return [Finding("certificate authorities", Health.WELL, plain(", ".join(named)) or "the system's")]


def _steps(what: str, url: Url, steps: list[Step]) -> list[Finding]:
    advice = {
        "name": "is the address right, and does this machine resolve names?",
        "connection": "is there a firewall, or a proxy to be named in HTTPS_PROXY?",
        "certificate": "a proxy that opens TLS needs its authority: SSL_CERT_FILE, or --ca-file",
    }
    findings = []
    for step in steps:
        subject = f"{step.name} of the {what}"
        if step.failure:
            detail = f"{url.place}: {plain(step.failure)}"
            findings.append(Finding(subject, Health.ILL, detail, advice[step.name], UNREACHABLE))
        else:
            findings.append(Finding(subject, Health.WELL, f"{step.detail}, {step.milliseconds:.0f} ms"))
    return findings


# the service


async def _asked(patient: Patient) -> list[Finding]:
    settings = replace(patient.settings, retry=PATIENCE, connect_seconds=CONNECT_SECONDS, stall_seconds=CONNECT_SECONDS)
    settings = replace(settings, workspace=None)  # ask, whatever is said
    try:
        async with Client(patient.api_key, settings=settings) as client:
            began = time.perf_counter()
            workspace = await client.workspace()
            took = time.perf_counter() - began
            offset = client.server_offset
    except RfbulkError as error:
        return [_refused(error)]
    detail = f"workspace {plain(workspace)}, answered in {_ms(took)}"
    findings = [Finding("api key accepted", Health.WELL, detail), finding_of_skew(offset)]
    said = patient.settings.workspace
    if said is not None and said != workspace:
        advice = "leave --workspace out, or use that workspace's key"
        findings.append(Finding("workspace", Health.DOUBTFUL, f"--workspace says {plain(said)}", advice))
    return findings


def _refused(error: RfbulkError) -> Finding:
    if isinstance(error, NotAuthorised):
        advice = "is it the right key, of the right workspace, and not revoked?"
        return Finding("api key accepted", Health.ILL, plain(error.cause), advice, NOT_AUTHORISED)
    if isinstance(error, TroublePassing):
        advice = error.advice or "try again; status.roboflow.com tells of outages"
        return Finding("service", Health.ILL, plain(error.cause), advice, UNREACHABLE)
    if isinstance(error, ProtocolError):
        return Finding("service", Health.ILL, plain(error.cause), error.advice, USAGE)
    return Finding(
        "service", Health.ILL, plain(error.cause), error.advice, USAGE if isinstance(error, UsageError) else 1
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
