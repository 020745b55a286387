"""What machines read of a real command while it runs: metrics by HTTP, and a log that a killed process leaves whole."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.slow


def started(folder: Path, *options: str) -> subprocess.Popen[str]:
    """An upload that takes a minute."""
    photos = folder / "photos"
    photos.mkdir()
    for number in range(40):
        (photos / f"{number}.jpg").write_bytes(b"\xff\xd8\xff" + bytes(50_000) + b"\xff\xd9")
    (photos / "empty.jpg").touch()
    words = ["upload", "images", str(photos), "--batch-id", "b", "--limit-rate", "256KiB", "--shard-images", "2"]
    places = ["--emulator", "--emulator-dir", str(folder / "service"), "--state-dir", str(folder / "state")]
    return subprocess.Popen(
        [sys.executable, "-m", "rfbulk", *words, *places, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def scraped(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - a server of this test
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_a_running_upload_is_scraped_and_killed_leaves_a_whole_log(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    running = started(tmp_path, "--metrics", "0", "--log-file", str(log))
    assert running.stderr is not None
    try:
        told = re.fullmatch(r"metrics: (http://127\.0\.0\.1:[0-9]+/metrics)\n", running.stderr.readline())
        assert told is not None
        deadline = time.monotonic() + 60
        while (found := scraped(told[1])).get("rfbulk_upload_shards_total", 0) < 2:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
    finally:
        running.send_signal(signal.SIGKILL)
        running.communicate(timeout=60)
    assert found["rfbulk_upload_planned_images"] == 40
    assert found["rfbulk_upload_bytes_total"] > 4 * 50_000
    assert found["rfbulk_upload_shards_in_flight"] >= 1
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines[0]["event"] == "LogBegun"
    assert sum(line["event"] == "ShardSent" for line in lines) >= found["rfbulk_upload_shards_total"]
    assert all(line["schema"] == 1 for line in lines)
    assert "api_key" not in log.read_text()
