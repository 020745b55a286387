"""Each option of `rfbulk emulator serve` reaches the emulator."""

from __future__ import annotations

from typing import Any

import pytest

from rfbulk.cli.emulator import _options, serve
from rfbulk.emulator import DownloadOptions, EmulatorOptions, JobOptions, JobScript, WebhookOptions


def options_of(*arguments: str) -> EmulatorOptions:
    context = serve.make_context("serve", list(arguments), resilient_parsing=True)
    return _options(context.params)


def test_without_options_it_is_the_emulator_as_it_is_by_default() -> None:
    assert options_of() == EmulatorOptions(port=8790)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--download-seconds", "10s"], DownloadOptions(seconds=10)),
        (["--download-store", "s3"], DownloadOptions(dialect="s3")),
        (["--download-hashes", "none"], DownloadOptions(hashes="none")),
        (["--download-etag", "weak"], DownloadOptions(etag="weak")),
        (["--download-length", "chunked"], DownloadOptions(length="chunked")),
        (["--no-ranges"], DownloadOptions(ranges=False)),
    ],
    ids=str,
)
def test_downloads_go_as_told(arguments: list[str], expected: DownloadOptions) -> None:
    assert options_of(*arguments).downloads == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--job-seconds", "2m"], JobOptions(script=JobScript(seconds=120))),
        (["--job-end", "stall"], JobOptions(script=JobScript(end="stall"))),
        (["--fail-tasks", "2"], JobOptions(script=JobScript(fail_tasks=2))),
        (["--task-files", "7"], JobOptions(task_files=7)),
        (["--repeated-start", "conflict"], JobOptions(repeated_start="conflict")),
        (["--out-of-credits"], JobOptions(out_of_credits=True)),
        (["--status-words", "long"], JobOptions(status_words="long")),
    ],
    ids=str,
)
def test_jobs_go_as_told(arguments: list[str], expected: JobOptions) -> None:
    assert options_of(*arguments).jobs == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--webhook-authorization", "bare"], {"authorization": "bare"}),
        (["--webhook-attempts", "2"], {"attempts": 2}),
        (["--webhook-duplicates", "2"], {"duplicates": 2}),
        (["--webhook-conflicting"], {"conflicting": True}),
        (["--webhook-reorder"], {"reorder": True}),
        (["--webhook-silent"], {"silent": True}),
        (["--webhook-remote"], {"allow_remote": True}),
    ],
    ids=str,
)
def test_notifications_are_sent_as_told(arguments: list[str], expected: dict[str, Any]) -> None:
    assert options_of(*arguments).webhooks == WebhookOptions(**expected)
