from __future__ import annotations

import click
import pytest

from rfbulk.cli.command_line import settings_shown, shown_line
from rfbulk.cli.main import rfbulk
from rfbulk.cli.watching import with_addresses

KEY = "canary-9f2c41d7e6b05a38"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["upload", "images", "a b", "-b", "x"], "rfbulk upload images 'a b' -b x"),
        (["--api-key", KEY, "batch", "list"], "rfbulk batch list"),
        ([f"--api-key={KEY}", "batch", "list"], "rfbulk batch list"),
        (["export", "b", "it's"], """rfbulk export b 'it'"'"'s'"""),
    ],
)
def test_a_command_is_shown_as_a_shell_takes_it_again(words: list[str], expected: str) -> None:
    assert shown_line(words) == expected


@pytest.mark.parametrize(
    "word",
    [
        f"https://store.example/list.jsonl?X-Goog-Signature={KEY}&x=1",
        f"https://me:{KEY}@store.example/list.jsonl",
        f"api_key={KEY}",
        f"--param=token={KEY}",
        f"--notifications-url=https://me.example/hook?sig={KEY}",
    ],
)
def test_nothing_secret_is_shown(word: str) -> None:
    assert KEY not in shown_line(["upload", "references", word])


def test_no_word_commands_who_reads_it() -> None:
    assert "\x1b" not in shown_line(["upload", "images", "\x1b[31m"])


def test_settings_that_were_given_come_first_and_secrets_not_at_all() -> None:
    words = [
        "photos",
        "-b",
        "spring",
        "--limit-rate",
        "20MiB",
        "--api-key",
        KEY,
        "--notifications-url",
        f"https://a/?k={KEY}",
    ]
    group = rfbulk.get_command(click.Context(rfbulk), "upload")
    assert isinstance(group, click.Group)
    command = group.get_command(click.Context(group), "images")
    assert command is not None
    context = command.make_context("images", words)
    shown = settings_shown(context)
    assert shown[0] == ("SOURCE...", "photos")
    assert ("--limit-rate", "20.0 MiB") in shown
    assert ("--shard-bytes", "64MiB (default)") in shown
    assert KEY not in str(shown)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--dashboard"], ["--dashboard="]),
        (["--dashboard", "photos", "-b", "x"], ["--dashboard=", "photos", "-b", "x"]),
        (["--dashboard", "127.0.0.1:80", "photos"], ["--dashboard=127.0.0.1:80", "photos"]),
        (["--dashboard", ":80"], ["--dashboard=:80"]),
        (["--dashboard", "8080"], ["--dashboard=8080"]),
        (["--dashboard", "[::1]:80"], ["--dashboard=[::1]:80"]),
        (["--dashboard", "box.example:80"], ["--dashboard=box.example:80"]),
        (["--dashboard", "s3://bucket/a"], ["--dashboard=", "s3://bucket/a"]),
        (["--dashboard=box", "photos"], ["--dashboard=box", "photos"]),
        (["--dashboard", "--quiet"], ["--dashboard=", "--quiet"]),
        (["--", "--dashboard", "8080"], ["--", "--dashboard", "8080"]),
        (["--dashboard", "--", "a"], ["--dashboard=", "--", "a"]),
        (["a", "b"], ["a", "b"]),
        ([], []),
    ],
)
def test_a_dashboard_takes_an_address_and_never_an_argument(given: list[str], expected: list[str]) -> None:
    assert with_addresses(given) == expected
