"""Metrics: what each event adds, names and labels as Prometheus has them, and a real scrape by HTTP."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import get_args

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from rfbulk.cli.metrics import MetricsAddress, parse_metrics_address, words_of
from rfbulk.cli.options import Globals
from rfbulk.cli.progress import progress_printer
from rfbulk.core.model import RefusalReason
from rfbulk.core.report import Failure
from rfbulk.errors import UsageError
from rfbulk.events import (
    Event,
    FileNamed,
    RequestRetried,
    ShardChanged,
    ShardSent,
    TransferBegun,
    TransferEnded,
    Wait,
)
from rfbulk.metrics import Metrics
from rfbulk.metrics.serving import serving_metrics
from rfbulk.metrics.watching import MOST_LABELS, MOST_UNDERWAY
from tests.support.events import EXAMPLES, EXPORT, UPLOAD

BEGIN = TransferBegun("upload", "spring", ("/photos",))


class World:
    """A registry of its own, and time that the test owns."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.seconds = 100.0
        self.metrics = Metrics(self.registry, monotonic=lambda: self.seconds, now=lambda: 1_800_000_000.0)

    def take(self, *events: Event) -> None:
        for event in events:
            self.metrics(event)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"rfbulk_{name}", labels)


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_every_event_is_taken(event: Event, world: World) -> None:
    assert type(event) in world.metrics._first.__self__._takers  # type: ignore[attr-defined]  # a bound method
    world.take(event)


def test_an_upload_is_counted_once_however_often_its_sums_are_told(world: World) -> None:
    world.take(BEGIN, UPLOAD, UPLOAD)
    assert world.value("upload_bytes_total") == 33_000
    assert world.value("upload_retries_total", cause="store 503") == 6
    more = replace(UPLOAD, seconds=11.0, bytes_on_the_wire=34_000, retries={"store 503": 7, "connection": 1})
    world.take(more)
    assert world.value("upload_bytes_total") == 34_000
    assert world.value("upload_retries_total", cause="store 503") == 7
    assert world.value("upload_retries_total", cause="connection") == 1
    assert world.value("upload_planned_images") == 900
    assert world.value("upload_waiting", wait="rest") == 1
    assert world.value("upload_waiting", wait="grant") == 0
    assert (world.value("upload_rest_seconds"), world.value("upload_concurrency")) == (4.5, 4)


def test_a_second_transfer_adds_to_the_first(world: World) -> None:
    world.take(BEGIN, UPLOAD, TransferEnded("upload", "spring", 9.0, 9, 9, 0), BEGIN, UPLOAD)
    assert world.value("upload_bytes_total") == 66_000
    assert world.value("upload_retries_total", cause="store 503") == 12
    assert world.value("transfers_begun_total", kind="upload") == 2
    assert world.value("transfers_ended_total", kind="upload", outcome="complete") == 1


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (TransferEnded("export", "b", 1.0, 9, 9, 0), "complete"),
        (TransferEnded("export", "b", 1.0, 8, 9, 0), "incomplete"),
        (TransferEnded("export", "b", 1.0, 8, 9, 0, "the line is down"), "error"),
    ],
)
def test_the_end_of_a_transfer_is_counted_by_its_outcome(event: Event, outcome: str, world: World) -> None:
    world.take(event)
    assert world.value("transfers_ended_total", kind="export", outcome=outcome) == 1


def test_transfers_side_by_side_each_have_their_own_sums(world: World) -> None:
    one, other = world.metrics.watch(), world.metrics.watch()
    small = replace(UPLOAD, bytes_on_the_wire=5, retries={})
    for event in (BEGIN, UPLOAD, UPLOAD):
        one(event)
        other(BEGIN if event is BEGIN else small)
    assert world.value("upload_bytes_total") == 33_005


def test_the_time_left_is_no_number_until_it_is_known(world: World) -> None:
    world.take(BEGIN, replace(UPLOAD, seconds=1.0))
    assert str(world.value("upload_left_seconds")) == "nan"
    world.take(replace(UPLOAD, seconds=10.0, bytes_sent=50_000, bytes_in_flight=0, rest_seconds=0.0))
    assert world.value("upload_left_seconds") == pytest.approx(40_000 / (40_000 / 10), rel=0.01)


def test_what_shards_took_is_measured_from_attempt_to_answer(world: World) -> None:
    for shard, seconds in ((1, 3.0), (2, 40.0)):
        world.take(ShardChanged(shard, "granted", 5, 9), ShardChanged(shard, "sending", 5, 9, 1))
        world.seconds += seconds
        world.take(ShardChanged(shard, "sent", 5, 9, 1), ShardSent(shard, 5, 9, 1, is_verified=True))
    assert world.value("upload_shard_seconds_bucket", le="5.0") == 1
    assert (world.value("upload_shard_seconds_count"), world.value("upload_shard_seconds_sum")) == (2, 43.0)
    assert (world.value("upload_images_total"), world.value("upload_shards_total")) == (10, 2)
    assert world.value("upload_shard_changes_total", state="granted") == 2
    assert world.value("upload_last_success_timestamp_seconds") == 1_800_000_000.0


def test_shards_that_never_end_fill_no_memory(world: World) -> None:
    for shard in range(MOST_UNDERWAY + 10):
        world.take(ShardChanged(shard, "sending", 1, 1, 1))
    assert len(world.metrics._first.__self__._began) == MOST_UNDERWAY  # type: ignore[attr-defined]  # a bound method


def test_an_export_is_counted(world: World) -> None:
    world.take(TransferBegun("export", "results", ("/r",)), EXPORT)
    assert world.value("export_bytes_total") == 21_000
    assert world.value("export_done_files") == 250
    assert world.value("export_waiting", wait="answer") == 3
    assert world.value("export_left_seconds") == pytest.approx(248 / 10 + 1.5, rel=0.01)


def test_labels_are_few_whatever_a_service_says(world: World) -> None:
    causes = {f"store {number}": 1 for number in range(200)}
    world.take(BEGIN, replace(UPLOAD, retries=causes))
    found = {sample.labels["cause"] for sample in samples(world, "rfbulk_upload_retries")}
    assert len(found) == MOST_LABELS + 1
    assert world.value("upload_retries_total", cause="other") == 200 - MOST_LABELS


def samples(world: World, name: str) -> list:  # type: ignore[type-arg]  # of the library's own kind
    return [
        sample
        for family in world.registry.collect()
        if family.name == name
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]


def test_no_label_names_a_file_a_batch_or_an_address(world: World) -> None:
    world.take(*EXAMPLES, FileNamed(Failure("/secret/place.jpg", "place.jpg", RefusalReason.EMPTY, "detail")))
    world.take(RequestRetried("read https://store.test/x?sig=1", "https://store.test/x?sig=1", 1.0))
    told = " ".join(
        f"{label}={value}"
        for family in world.registry.collect()
        for sample in family.samples
        for label, value in sample.labels.items()
    )
    for secret in ("jpg", "mp4", "spring", "/photos", "https", "secret", "j-1"):
        assert secret not in told


def test_names_follow_the_conventions(world: World) -> None:
    units = re.compile(r"rfbulk(_[a-z]+)*")
    for family in world.registry.collect():
        assert units.fullmatch(family.name), family.name
        assert family.documentation.endswith("."), family.name
        for sample in family.samples:
            assert set(sample.labels) <= {"kind", "outcome", "state", "cause", "reason", "wait", "delivery", "le",
                                          "version", "rfbulk_phase"}  # fmt: skip


def test_a_registry_takes_one_set_of_metrics(world: World) -> None:
    with pytest.raises(ValueError, match="Duplicated"):
        Metrics(world.registry)


# serving


def scraped(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - a server of this test
        text = answer.read().decode()
    return {
        sample.name + "".join(f"[{value}]" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_scrape_gets_what_was_told_and_what_the_process_uses() -> None:
    with serving_metrics("127.0.0.1", 0) as serving:
        for event in EXAMPLES:
            serving.on_event(event)
        found = scraped(serving.url)
        url = serving.url
    assert found["rfbulk_upload_bytes_total"] == 33_000
    assert found["rfbulk_upload_failures_total[unreadable]"] == 1
    assert found["rfbulk_phase[sending]"] == 1
    assert {f"rfbulk_upload_waiting[{wait}]" for wait in get_args(Wait)} <= set(found)
    assert found["process_cpu_seconds_total"] > 0
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=10)  # noqa: S310 - a server of this test


def test_a_taken_port_is_said_before_anything_is_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        expected = rf"serve metrics at 127.0.0.1:{port}: Address already in use \(give --metrics another address"
        with (
            pytest.raises(UsageError, match=expected),
            progress_printer(Globals(metrics=MetricsAddress("127.0.0.1", port))),
        ):
            pass


def test_an_address_of_no_machine_is_refused() -> None:
    with (
        pytest.raises(UsageError, match=r"serve metrics at no\.such\.host\.invalid:0: "),
        serving_metrics("no.such.host.invalid", 0),
    ):
        pass


def test_the_command_line_says_where_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_printer(Globals(metrics=MetricsAddress("127.0.0.1", 0))) as on_event:
        found = re.fullmatch(r"metrics: (http://127\.0\.0\.1:[0-9]+/metrics)\n", capsys.readouterr().err)
        assert found is not None
        on_event(UPLOAD)
        assert scraped(found[1])["rfbulk_upload_bytes_total"] == 33_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9464", MetricsAddress("127.0.0.1", 9464)),
        (":9464", MetricsAddress("127.0.0.1", 9464)),
        ("0.0.0.0:1", MetricsAddress("0.0.0.0", 1)),  # noqa: S104 - what may be asked for
        ("[::1]:9464", MetricsAddress("::1", 9464)),
        ("localhost:0", MetricsAddress("localhost", 0)),
    ],
)
def test_addresses_are_read(text: str, expected: MetricsAddress) -> None:
    assert expected == parse_metrics_address(text)


@pytest.mark.parametrize("text", ["", "x", "1.2.3.4", "a:b", "::1:9464", "h:99999", "http://h:1", "h:1/metrics"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write it as"):
        parse_metrics_address(text)


def test_who_serves_beyond_this_machine_is_warned() -> None:
    assert words_of(MetricsAddress("::1", 1), "u") == ["metrics: u"]
    assert len(words_of(MetricsAddress("10.0.0.7", 1), "u")) == 2


WITHOUT = "import sys; sys.modules['prometheus_client'] = None; from rfbulk.cli.main import main; main()"


@pytest.mark.slow
def test_without_the_extra_it_is_said_how_to_get_it_and_nothing_is_sent(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"\xff\xd8\xff\xd9")
    words = ["upload", "images", str(tmp_path / "photos"), "--batch-id", "b", "--emulator", "--metrics", "0"]
    places = ["--state-dir", str(tmp_path / "state"), "--emulator-dir", str(tmp_path / "service")]
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT, *words, *places],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    expected = "error: serve metrics: prometheus-client is not installed (pip install 'rfbulk[metrics]')\n"
    assert (ended.returncode, ended.stderr) == (2, expected)
    assert not (tmp_path / "service").exists()
