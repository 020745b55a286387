"""How jobs go: their pace, what fails on purpose, and a switch for what is unknown of the service."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import msgspec

from rfbulk.emulator.checks import check_choice, check_range

RepeatedStart = Literal["accepted", "conflict"]
StatusWords = Literal["plain", "long"]
End = Literal["as-it-went", "fail", "stall"]


class JobScript(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one run of a job goes.

    | field | meaning |
    | --- | --- |
    | seconds | how long it takes, at least; progress is seen meanwhile |
    | fail_tasks | so many of the first tasks of the first stage end in an error |
    | tolerant | a stage succeeds although tasks of it failed |
    | end | as its tasks went; a failure in spite of them; or it never gets beyond its first half |
    """

    seconds: float = 0.0
    fail_tasks: int = 0
    tolerant: bool = False
    end: End = "as-it-went"

    def __post_init__(self) -> None:
        """Refuse what cannot happen.

        Raises:
            ValueError: a field is outside its range; the text names it.
        """
        check_choice(self, "end", get_args(End))
        check_range(self, "seconds", 0, 24 * 3600)
        check_range(self, "fail_tasks", 0, 2**31)


@dataclass(frozen=True, slots=True)
class JobOptions:
    """How jobs are taken, and how they go unless a script says otherwise.

    | option | meaning |
    | --- | --- |
    | script | how a run goes for which no other script waits |
    | task_files | how many images a task reads; a video has a task of its own |
    | repeated_start | the same job under the same id: accepted without effect, or a conflict |
    | out_of_credits | starting and restarting a job is answered with 429 |
    | status_words | what has ended is `success` or `error`; or these words are parts of longer ones |
    """

    script: JobScript = field(default_factory=JobScript)
    task_files: int = 256
    repeated_start: RepeatedStart = "accepted"
    out_of_credits: bool = False
    status_words: StatusWords = "plain"

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: an option is outside its range; the text names it.
        """
        check_choice(self, "repeated_start", get_args(RepeatedStart))
        check_choice(self, "status_words", get_args(StatusWords))
        check_range(self, "task_files", 1, 10_000)
