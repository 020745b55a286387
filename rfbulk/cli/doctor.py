"""`rfbulk doctor`: what a transfer needs, looked at before it begins."""

from __future__ import annotations

import os
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

import click
import msgspec

from rfbulk.cli.options import CONTEXT, Globals, global_options, globals_of
from rfbulk.cli.printing import print_json
from rfbulk.cli.running import Session, api_key, run, settings_of
from rfbulk.client.checkup import Patient, check_up
from rfbulk.core.checkup import Finding, Health, exit_code_of
from rfbulk.errors import UsageError

SIGNS: Final = {Health.WELL: "✓", Health.NOTED: "·", Health.DOUBTFUL: "!", Health.ILL: "✗"}
COLOURS: Final = {Health.WELL: "green", Health.DOUBTFUL: "yellow", Health.ILL: "red"}
WORDS: Final = {Health.WELL: "ok  ", Health.NOTED: "note", Health.DOUBTFUL: "warn", Health.ILL: "FAIL"}


@click.command(context_settings=CONTEXT)
@global_options
@click.pass_context
def doctor(context: click.Context) -> int:
    """Look at all that a transfer needs: key, line, clock, proxy, disk, limits, versions. Sends and changes nothing.

    \b
    rfbulk doctor
    rfbulk doctor --json
    rfbulk --emulator doctor

    \b
    ✓ well, · noted, ! may be amiss, ✗ nothing will work until it is mended.
    Exit code 0: nothing is ✗. Else that of the first ✗: 2 configuration, 4 not authorised, 5 unreachable.
    """
    return run(globals_of(context), _doctor)


async def _doctor(session: Session) -> int:
    async with AsyncExitStack() as stack:
        patient = _patient(session.options)
        if session.options.emulator:
            from rfbulk.cli.emulator import embedded  # noqa: PLC0415 - only where it is asked for

            emulator = await stack.enter_async_context(embedded(session.options))
            settings = replace(patient.settings, api_url=emulator.url)
            patient = Patient(settings, emulator.api_key, "the emulator that was started for this command")
        findings = []
        async for finding in check_up(patient):
            findings.append(finding)
            _print(session.options, finding)
    code = exit_code_of(findings)
    if not session.options.json:
        ill = sum(each.health is Health.ILL for each in findings)
        doubtful = sum(each.health is Health.DOUBTFUL for each in findings)
        click.echo("all is well" if not ill + doubtful else f"{ill} to mend, {doubtful} to look at")
    return code


def _patient(options: Globals) -> Patient:
    settings = settings_of(options)
    if options.emulator:
        return Patient(settings, "", "")
    try:
        return Patient(settings, api_key(replace(options, quiet=True)), _place_of_key(options))
    except UsageError as error:
        return Patient(settings, "", error.cause if options.api_key_file is None else str(error))


def _place_of_key(options: Globals) -> str:
    """Where `api_key` has found it, in its order."""
    if options.api_key:
        return "--api-key, where others on this machine can read it"
    if options.api_key_file is not None:
        return f"the file {options.api_key_file}"
    return "ROBOFLOW_API_KEY" if os.environ.get("ROBOFLOW_API_KEY") else "Roboflow's own configuration file"


def _print(options: Globals, finding: Finding) -> None:
    if options.json:
        print_json(msgspec.to_builtins(finding))
        return
    if options.quiet and finding.health in {Health.WELL, Health.NOTED}:
        return
    click.echo(f"{_sign(finding.health)} {finding.subject}: {finding.detail}")
    if finding.advice:
        click.echo(f"{' ' * (2 if _is_drawn() else 5)}{finding.advice}")


def _sign(health: Health) -> str:
    if not _is_drawn():
        return WORDS[health]
    return SIGNS[health] if os.environ.get("NO_COLOR") else click.style(SIGNS[health], fg=COLOURS.get(health))


def _is_drawn() -> bool:
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    return sys.stdout.isatty() and encoding == "utf8"
