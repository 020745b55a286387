"""The client starts jobs of every kind, watches, aborts and restarts them, and brings their results home."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rfbulk.emulator import JobScript
from rfbulk.emulator.images import sample_image

if TYPE_CHECKING:
    from tests.compat.client import Run

IMAGES = {f"{number:02}.png": sample_image(number) for number in range(40)}
HASHES = Counter(hashlib.sha256(content).hexdigest() for content in IMAGES.values())


@dataclass
class Jobs:
    """The client's commands on jobs."""

    run: Run

    def command(self, *arguments: str) -> str:
        return self.run.command(*arguments, group="batch-processing")

    def settle(self) -> None:
        self.run.portal.call(self.run.emulator.jobs_settled)

    def script(self, script: JobScript) -> None:
        self.run.portal.call(self.run.emulator.script_jobs, script)

    def try_images(self) -> None:
        """Start a job with all that it can be given; look at it while it is there; fetch what it made."""
        parameters = self.run.folder / "parameters.json"
        parameters.write_text(json.dumps({"confidence": 0.5}))
        options = {
            "--workflow-params": str(parameters),
            "--image-input-name": "image",
            "--machine-type": "gpu",
            "--workers-per-machine": "2",
            "--max-runtime-seconds": "600",
            "--max-parallel-tasks": "2",
            "--max-image-failure-rate": "0.5",
            "--aggregation-format": "jsonl",
            "--inference-backend": "inference-models",
            "--job-name": "Of images",
            "--metadata-mapping": "input=key",
            "--image-outputs-to-save": "shown",
        }
        given = [text for pair in options.items() for text in pair]
        command = ["process-images-with-workflow", "-b", "job-input", "-w", "w1", "-j", "images"]
        output = self.command(*command, "--save-image-outputs", *given)
        assert "Triggered job with ID: images" in output, output
        self.settle()

    def show(self) -> None:
        output = self.command("show-job-details", "--job-id", "images")
        for expected in ("Of images", "processing", "export", "All Good", "100%"):
            assert expected in output, output

    def list_jobs(self) -> None:
        assert "images" in self.command("list-jobs")

    def fetch_logs(self) -> None:
        path = self.run.folder / "logs.jsonl"
        self.command("fetch-logs", "-j", "images", "--output-file", str(path))
        kinds = [json.loads(line)["log_type"] for line in path.read_text().splitlines()]
        assert kinds == ["job-accepted", "stage-started", "stage-started", "job-ended"], kinds
        assert self.command("fetch-logs", "-j", "images", "--log-severity", "error") == ""

    def results_come_home(self) -> None:
        output = self.command("show-job-details", "--job-id", "images")
        found = re.search(r"images-export-[0-9a-f]+", output)
        assert found is not None, output
        target = self.run.folder / "job-results"
        self.run.command("export-batch", "--batch-id", found[0], "--target-dir", str(target))
        lines = [line for path in (target / "results").iterdir() for line in path.read_text().splitlines()]
        assert Counter(json.loads(line)["sha256"] for line in lines) == HASHES
        assert {path.name: path.read_bytes() for path in (target / "shown").iterdir()} == IMAGES

    def videos(self) -> None:
        command = ["process-videos-with-workflow", "-b", "job-videos", "-w", "w1", "-j", "videos"]
        self.command(*command, "--max-video-fps", "2", "--aggregation-format", "csv")
        self.settle()
        assert "All Good" in self.command("show-job-details", "-j", "videos")

    def compilation(self) -> None:
        self.command("trt-compile", "-m", "model/1", "-d", "nvidia-l4", "-d", "nvidia-l40s", "-j", "compile")
        self.settle()
        assert "compilation" in self.command("show-job-details", "-j", "compile")

    def a_failed_job_is_shown_with_its_errors(self) -> None:
        self.script(JobScript(fail_tasks=1))
        self.command("process-images-with-workflow", "-b", "job-input", "-w", "w1", "-j", "failing")
        self.settle()
        output = self.command("show-job-details", "-j", "failing")
        assert "as it was told to" in output, output
        logs = self.command("fetch-logs", "-j", "failing", "--log-severity", "error")
        assert "task-failed" in logs, logs

    def restart(self) -> None:
        parameters = ["--machine-type", "cpu", "--max-runtime-seconds", "60", "--max-parallel-tasks", "1"]
        self.command("restart-job", "-j", "failing", *parameters)
        self.settle()
        output = self.command("show-job-details", "-j", "failing")
        assert "All Good" in output, output
        assert "maxParallelTasks" in output, output
        self.command("restart-job", "-j", "failing")
        self.settle()

    def abort(self) -> None:
        self.script(JobScript(end="stall"))
        self.command("process-images-with-workflow", "-b", "job-input", "-w", "w1", "-j", "stalling")
        assert "100%" not in self.command("show-job-details", "-j", "stalling")
        assert "ok" in self.command("abort-job", "-j", "stalling")
        self.settle()
        assert "aborted" in self.command("show-job-details", "-j", "stalling")


def try_jobs(run: Run) -> None:
    """Let the client do all that it can do with jobs."""
    jobs = Jobs(run)
    run.portal.call(lambda: run.emulator.add_batch("job-input", files=list(IMAGES.items())))
    run.portal.call(lambda: run.emulator.add_batch("job-videos", files=[("a.mp4", b"film")], content_type="videos"))
    checks = [
        jobs.try_images,
        jobs.show,
        jobs.list_jobs,
        jobs.fetch_logs,
        jobs.results_come_home,
        jobs.videos,
        jobs.compilation,
        jobs.a_failed_job_is_shown_with_its_errors,
        jobs.restart,
        jobs.abort,
    ]
    for check in checks:
        run.step(f"jobs: {check.__name__.replace('_', ' ')}", check)
