"""The command `rfbulk`: its groups, and where each command lives. Loads nothing but what is asked for."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from rfbulk import __version__
from rfbulk.cli.early import started_early
from rfbulk.cli.options import COMPLETING, CONTEXT, ExitCode, Globals, global_options

COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "upload": {
        "images": ("rfbulk.cli.upload:images", "Upload the images of a folder into a batch."),
        "videos": ("rfbulk.cli.upload:videos", "Upload the videos of a folder into a batch."),
        "references": ("rfbulk.cli.ingest:references", "Let the service fetch files that are elsewhere."),
        "query": ("rfbulk.cli.ingest:query", "Fill a batch with what a RoboQL query finds."),
    },
    "batch": {
        "list": ("rfbulk.cli.batches:list_batches", "List the batches of the workspace."),
        "show": ("rfbulk.cli.batches:show", "Describe a batch: type, age, expiry, files, shards."),
        "files": ("rfbulk.cli.batches:files", "List the files of a batch."),
        "shards": ("rfbulk.cli.batches:shards", "List the shards of a batch and how far each is."),
        "wait": ("rfbulk.cli.batches:wait", "Wait until a batch is ready."),
    },
    "job": {
        "start": ("rfbulk.cli.job_start:start", "Start a job on a batch, once."),
        "list": ("rfbulk.cli.jobs:list_jobs", "List the jobs of the workspace."),
        "show": ("rfbulk.cli.jobs:show", "Describe a job and how far each stage is."),
        "stages": ("rfbulk.cli.jobs:stages", "List the stages of a job and the batches they make."),
        "tasks": ("rfbulk.cli.jobs:tasks", "List the tasks of a stage."),
        "logs": ("rfbulk.cli.jobs:logs", "Print a job's log."),
        "wait": ("rfbulk.cli.jobs:wait", "Wait until a job has ended."),
        "abort": ("rfbulk.cli.jobs:abort", "End a job."),
        "restart": ("rfbulk.cli.jobs:restart", "Run a job again that has ended."),
    },
    "checkpoint": {
        "list": ("rfbulk.cli.checkpoints:list_checkpoints", "List uploads and exports that this machine remembers."),
        "show": ("rfbulk.cli.checkpoints:show", "Describe one of them, and say the command that goes on with it."),
        "resume": ("rfbulk.cli.resuming:resume", "Go on with one of them, with the options it was begun with."),
        "forget": ("rfbulk.cli.checkpoints:forget", "Forget one of them."),
        "reseal": ("rfbulk.cli.checkpoints:reseal", "Take one as it is, after another program has opened it."),
    },
    "cluster": {"check": ("rfbulk.cli.cluster:check", "Look at a Dask cluster: versions, mounts, clocks, lines.")},
    "webhook": {"serve": ("rfbulk.cli.webhook:serve", "Receive the service's notifications.")},
    "emulator": {"serve": ("rfbulk.cli.emulator:serve", "Run a server of the service's API on this machine.")},
}
SINGLE = {
    "export": ("rfbulk.cli.export:export", "Bring the files of a batch home into a folder."),
    "verify": ("rfbulk.cli.verify:verify", "Compare what was sent, what is listed, and what the source has now."),
    "run": ("rfbulk.cli.run:run_all", "Upload, process with a workflow, bring the results home."),
    "doctor": ("rfbulk.cli.doctor:doctor", "Look at all that a transfer needs, and say what to mend."),
    "completion": ("rfbulk.cli.completion:completion", "Print what makes a shell complete rfbulk's words."),
    "dashboard": ("rfbulk.cli.dashboard:dashboard", "Show on a web page what this machine remembers, live."),
}
"""Commands that stand in no group."""

GROUPS = {
    "upload": "Send files into a batch.",
    "batch": "Look at batches, or wait for one.",
    "job": "Start jobs, look at them, wait for them.",
    "checkpoint": "Look at what uploads and exports remember, go on with it, or forget it.",
    "cluster": "Look at the machines that carry transfers for others.",
    "webhook": "Take what the service notifies of.",
    "emulator": "The service's API, on this machine.",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called. Their short help stands in the table."""

    def __init__(self, *args: Any, table: dict[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Name the groups, then the commands in the table's order."""
        return [*self.commands, *self._table]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in self._table:
            return super().get_command(ctx, cmd_name)
        module, _, name = self._table[cmd_name][0].partition(":")
        gc.disable()  # modules make no garbage: looking for it takes a sixteenth of the time that loading them does
        try:
            command = getattr(import_module(module), name)
        finally:
            gc.enable()
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}:{name} is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands without importing them."""
        groups = [(name, group.get_short_help_str()) for name, group in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl([*groups, *((name, text) for name, (_, text) in self._table.items())])


def _group(name: str) -> click.Group:
    return LazyGroup(name, table=COMMANDS[name], help=GROUPS[name], context_settings=CONTEXT)


@click.group(cls=LazyGroup, table=SINGLE, context_settings=CONTEXT | {"auto_envvar_prefix": "RFBULK"})
@click.version_option(__version__, message="rfbulk %(version)s")
@global_options
def rfbulk() -> None:
    """Move image sets into Roboflow Data Staging and bring results home, fast and exactly once.

    \b
    rfbulk upload images photos --batch-id spring     upload a folder; say it again to resume
    rfbulk batch wait spring --expect 1024            wait until the service is ready
    rfbulk export results ./results                   bring a batch home; say it again to resume
    rfbulk run photos -w detect -o results            all of it, with a job in between
    rfbulk --emulator upload images photos --batch-id try    the same, against a server on this machine

    The api key comes from ROBOFLOW_API_KEY, --api-key-file, or Roboflow's own configuration file. Every option can
    be given as an environment variable: RFBULK_UPLOAD_IMAGES_SHARD_BYTES=32MiB.

    \b
    Exit codes: 0 done and confirmed, 1 failed, 2 usage, 3 finished but some items failed, 4 not authorised,
    5 busy or a passing trouble (run again), 6 the service reports a failed ingest, 7 waiting timed out,
    130/143 interrupted (checkpoint kept).
    """


for _name in COMMANDS:
    rfbulk.add_command(_group(_name))


def main() -> None:
    """Run the command and exit with its code."""
    if COMPLETING in os.environ:
        from rfbulk.cli.outline import outlined  # noqa: PLC0415 - only where a shell asks

        outlined(rfbulk).main(prog_name="rfbulk", complete_var=COMPLETING)
    spares = started_early(sys.argv[1:])
    try:
        code = rfbulk.main(prog_name="rfbulk", standalone_mode=False, obj=Globals(spares=spares))
    except click.ClickException as error:
        error.show()
        code = ExitCode.USAGE
    except click.Abort:
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        code = ExitCode.FAILED
    finally:
        if spares is not None:
            spares.close()
    _leave(code if isinstance(code, int) else 0)


def _leave(code: int) -> NoReturn:
    """End at once. All that counts has been closed; taking modules apart would last another twentieth of a second."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # whoever read it is gone
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
