"""What is measured is right only if the sink sees all that arrives, and sees it when something does not."""

from __future__ import annotations

import http.client
import subprocess
from pathlib import Path

import pytest
from crc32c import crc32c

from benchmarks.bench import Bench
from benchmarks.datasets import SMALL, prepare_files
from benchmarks.servers import compiled
from benchmarks.sink import Sink
from rfbulk.core.multipart import content_type, form_around

pytestmark = pytest.mark.slow  # the first compiles
IMAGE_OF = "/data-staging/v1/external/bench/batches/spring/upload/image?fileName=a.jpg&api_key=bench"
BOUNDARY = "of-a-test"
TYPE = {"Content-Type": content_type(BOUNDARY)}


def ask(
    sink: Sink, method: str, target: str, body: bytes | list[bytes] | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=10)
    try:
        connection.request(method, target, body, headers or {}, encode_chunked=isinstance(body, list))
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def form(content: bytes, name: str = "a.jpg") -> bytes:
    front, behind = form_around(name, BOUNDARY)
    return front + content + behind


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"\r\n",
        b"--of-a-test",
        b"\r\n--of-a-test\r\n",
        b"\r\n--of-a-test--\r\n",  # what closes a form, and goes on
        bytes(range(256)) * 3000,  # more than fits one receive
    ],
    ids=["empty", "byte", "line", "boundary", "part", "closing", "long"],
)
def test_an_image_in_a_form_counts_by_its_own_bytes_alone(sink: Sink, content: bytes) -> None:
    assert ask(sink, "POST", IMAGE_OF, form(content), TYPE)[0] == 200
    stats = sink.stats()
    assert (1, len(content), crc32c(content)) == (stats.images, stats.image_bytes, stats.image_sum)
    assert (stats.puts, stats.malformed) == (1, 0)


@pytest.mark.parametrize("size", [1, 7, 33, 5000])
def test_a_form_may_come_in_pieces_of_any_size(sink: Sink, size: int) -> None:
    content = bytes(range(251)) * 20
    whole = form(content)
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    status, _, _ = ask(sink, "POST", IMAGE_OF, pieces, {**TYPE, "Transfer-Encoding": "chunked"})
    assert status == 200
    assert (1, crc32c(content)) == (sink.stats().images, sink.stats().image_sum)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (form(b"content")[:-1], TYPE),
        (form(b"content")[1:], TYPE),
        (form(b"content") + b"more", TYPE),
        (b"", TYPE),
        (b"content", TYPE),
        (form(b"content"), {"Content-Type": "application/octet-stream"}),
        (form(b"content"), {"Content-Type": "multipart/form-data"}),
        (form(b"content"), {"Content-Type": f"multipart/form-data; boundary={'b' * 71}"}),
        (form(b"content", "n" * 5000), TYPE),
    ],
    ids=["cut", "headless", "longer", "empty", "bare", "type", "no boundary", "long boundary", "long head"],
)
def test_what_is_no_form_of_one_file_is_refused_and_counted(sink: Sink, body: bytes, headers: dict[str, str]) -> None:
    assert ask(sink, "POST", IMAGE_OF, body, headers)[0] == 400
    assert (sink.stats().images, sink.stats().malformed) == (0, 1)


def test_a_batch_of_single_images_says_so(sink: Sink) -> None:
    ask(sink, "POST", IMAGE_OF, form(b"one"), TYPE)
    ask(sink, "POST", IMAGE_OF, form(b"two"), TYPE)
    _, _, batch = ask(sink, "GET", "/data-staging/v1/external/bench/batches/spring?api_key=bench")
    _, _, count = ask(sink, "GET", "/data-staging/v1/external/bench/batches/spring/count?api_key=bench")
    assert b'"batchType": "simple-batch"' in batch
    assert count == b'{"count": 2}'


def test_an_object_is_known_by_its_size_and_its_sum(sink: Sink) -> None:
    content = b"of an object" * 1000
    status, headers, _ = ask(sink, "PUT", "/objects/a/b%20c.jpg?x-id=PutObject", content)
    assert (200, f'"{crc32c(content):08x}-1"') == (status, headers["ETag"])
    stats = sink.stats()
    assert (1, len(content), crc32c(content)) == (stats.images, stats.image_bytes, stats.image_sum)
    status, headers, body = ask(sink, "HEAD", "/objects/a/b%20c.jpg")
    assert (200, str(len(content)), b"") == (status, headers["Content-Length"], body)
    assert ask(sink, "HEAD", "/objects/a/other.jpg")[0] == 404


def test_an_object_that_is_sent_again_counts_once(sink: Sink) -> None:
    for content in (b"first", b"the second", b"third"):
        ask(sink, "PUT", "/objects/a.jpg", content)
    stats = sink.stats()
    assert (3, 1, 5, crc32c(b"third")) == (stats.puts, stats.images, stats.image_bytes, stats.image_sum)


def test_more_objects_than_there_was_room_for_at_first_are_all_known(sink: Sink) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=10)
    for number in range(1500):
        connection.request("PUT", f"/objects/{number}", b"x" * (number % 7))
        connection.getresponse().read()
    for number in (0, 700, 1499):
        connection.request("HEAD", f"/objects/{number}")
        answer = connection.getresponse()
        answer.read()
        assert str(number % 7) == answer.headers["Content-Length"]
    connection.close()
    assert sink.stats().images == 1500


@pytest.mark.parametrize(
    ("method", "target", "status", "word"),
    [
        ("HEAD", "/objects", 200, b""),
        ("HEAD", "/objects/", 200, b""),
        ("PUT", "/objects", 200, b""),
        ("GET", "/objects?location", 200, b"LocationConstraint"),
        ("GET", "/objects?list-type=2&prefix=", 200, b"<KeyCount>0</KeyCount>"),
        ("GET", "/objects/a.jpg", 501, b""),
        ("POST", "/objects/a.jpg?uploads", 501, b""),
        ("GET", "/objects-of-another", 404, b"no such call"),
    ],
)
def test_a_bucket_answers_what_its_clients_ask_and_stores_nothing_by_it(
    sink: Sink, method: str, target: str, status: int, word: bytes
) -> None:
    found, _, body = ask(sink, method, target)
    assert status == found
    assert word in body
    assert sink.stats().images == 0


def test_a_reset_forgets_objects(sink: Sink) -> None:
    ask(sink, "PUT", "/objects/a.jpg", b"content")
    sink.reset()
    assert ask(sink, "HEAD", "/objects/a.jpg")[0] == 404
    assert sink.stats().images == 0


@pytest.mark.parametrize(
    ("options", "arguments"),
    [((), ()), (("-s", "163840"), ()), ((), ("1",)), ((), ("3",))],
    ids=["packed", "packed, small buffer", "each, by one", "each, by three"],
)
def test_the_limit_sends_every_file_whole(
    sink: Sink, bench: Bench, build: Path, options: tuple[str, ...], arguments: tuple[str, ...]
) -> None:
    data = prepare_files(SMALL, 700, bench)
    command = (str(compiled("limit", build)), *options, str(data.folder), str(sink.port), *arguments)
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    stats = sink.stats()
    assert (data.files, data.total_bytes, data.image_sum) == (stats.images, stats.image_bytes, stats.image_sum)
    assert (stats.puts, stats.malformed) == (2, 0) if not arguments else (stats.puts, stats.malformed) == (700, 0)
    assert f"{stats.puts} {'files' if arguments else 'shards'}\n" == said


@pytest.mark.parametrize("arguments", [(), ("0",), ("257",), ("1", "2")])
def test_the_limit_refuses_what_it_does_not_understand(build: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    wrong = (str(compiled("limit", build)), str(tmp_path), *(("1",) if arguments else ()), *arguments)
    assert subprocess.run(wrong, check=False, capture_output=True, timeout=30).returncode == 2


@pytest.mark.parametrize("size", ["0", "-1", "many"])
def test_the_limit_wants_a_size_of_its_buffer(build: Path, tmp_path: Path, size: str) -> None:
    wrong = (str(compiled("limit", build)), "-s", size, str(tmp_path), "1")
    assert subprocess.run(wrong, check=False, capture_output=True, timeout=30).returncode == 2
