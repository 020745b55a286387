"""All that reads bytes of strangers: what each is given, what it may refuse with, and samples that it takes.

A reader returns what it makes of the bytes or raises one of its refusals. Anything else that comes out is a defect.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import msgspec
import orjson

from rfbulk.core import heads, ingest_wire, job_wire, wire
from rfbulk.core.containers import container_of
from rfbulk.core.fetching import FetchJob, UnpackLimits
from rfbulk.core.getting import Mark, judge_continued, mark_of
from rfbulk.core.grants import UrlFault, check_url, expiry_of
from rfbulk.core.hashes import stored_hashes
from rfbulk.core.imagecheck import ImageCheck
from rfbulk.core.landing import MAX_COMPONENT_BYTES, UnsafeName, clash_key, safe_path
from rfbulk.core.model import Entry, Grant, Outcome, ShardJob, ShardResult
from rfbulk.core.notices import NotANotice, digest_of, parse_notice, subject_of
from rfbulk.core.readiness import failed_files
from rfbulk.core.redaction import excerpt
from rfbulk.core.references import ReferenceFault, reference_of
from rfbulk.core.retry_after import MAX_RETRY_AFTER_SECONDS, parse_http_date, parse_retry_after
from rfbulk.core.secrets import SignedUrl
from rfbulk.core.standing import parse_flows
from rfbulk.core.store_errors import parse_store_error
from rfbulk.core.tarstream import ArchiveFault, ArchiveUnsafe, TarStream
from rfbulk.core.unpacking import Admission, MemberRefused, gunzip, is_gzip
from rfbulk.edge.path_list import paths_of
from rfbulk.errors import ProtocolError, SourceError, UsageError
from rfbulk.workers import frames
from tests.support.archives import END, HOSTILE, long_name, member, packed, pax

LIMITS = UnpackLimits(most_members=200, most_name_bytes=1 << 20, most_bytes=64 << 20, ratio_from_bytes=1 << 20)
CHUNK_BYTES = 700
"""Odd, so that pieces end within heads and blocks."""


@dataclass(frozen=True, slots=True)
class Reader:
    """One reader of foreign bytes."""

    name: str
    read: Callable[[bytes], object]
    refuses: tuple[type[Exception], ...]
    samples: tuple[bytes, ...]

    def take(self, data: bytes) -> object:
        """Give it bytes. None where it refuses them."""
        try:
            return self.read(data)
        except self.refuses:
            return None

    @property
    def is_json(self) -> bool:
        """Whether its samples are JSON throughout, to be spoiled value by value."""
        return all(sample.lstrip().startswith(b"{") for sample in self.samples)


# what stands in answers of the service

URL = "https://storage.example.com/b/o.tar?X-Goog-Date=20261126T100000Z&X-Goog-Expires=3600&X-Goog-Signature=ab12"


def _json(**values: Any) -> bytes:
    return msgspec.json.encode(values)


_GRANT = _json(
    status="ok",
    signedURLDetails={
        "uploadURL": URL,
        "method": "PUT",
        "maxFileSizeBytes": 1 << 26,
        "extensionHeaders": {"x-goog-content-length-range": "0,67108864", "x-goog-if-generation-match": "0"},
    },
)
_BATCH = {
    "batchId": "b",
    "displayName": "B",
    "batchType": "multipart-batch",
    "batchContentType": "images",
    "createdDate": "2026-11-26T10:00:00Z",
    "expiryDate": "2026-12-03T10:00:00Z",
}
_SHARD = {
    "shardId": "s",
    "statusType": "success",
    "statusName": "done",
    "eventTimestamp": "2026-11-26T10:00:00Z",
    "shardObjectsCount": 5,
    "statusMetadata": {"a": [1, {"b": None}]},
}
_FILE = {"downloadURL": URL, "fileName": "a.jpg", "partName": "p", "shardId": "s", "contentType": "images"}
_JOB = {
    "jobId": "j",
    "name": "J",
    "jobDefinition": {"type": "simple-image-processing-v1", "jobInput": {"batchId": "b"}},
    "currentStage": "processing",
    "plannedStages": ["processing", "export"],
    "error": False,
    "isTerminal": True,
    "lastNotification": {"message": "done"},
    "createdAt": "2026-11-26T10:00:00Z",
    "restartParametersOverride": [{"type": "parameters-override-v1"}],
}
_STAGE = {
    "processingStageId": "x",
    "processingStageName": "export",
    "tasksNumber": 3,
    "outputBatches": ["b"],
    "statusType": "success",
    "notification": {"reason": "r"},
    "startTimestamp": "2026-11-26T10:00:00Z",
}
_TASK = {"taskId": "t", "statusType": "error", "progress": 0.5, "notification": "n"}
_LOG = {"createdAt": "2026-11-26T10:00:00Z", "severity": "error", "payload": {"text": "x"}, "taskId": "t"}
_INGEST_NOTICE = {
    "type": "roboflow-data-staging-notification-v1",
    "event_id": "e",
    "ingest_id": "i",
    "batch_id": "b",
    "shard_id": None,
    "delivery_attempt": 2,
    "notification": {
        "type": "ingest-files-status-notification-v1",
        "success": False,
        "error_details": {"type": "t", "reason": "r"},
        "ingested_files": ["a.jpg"],
        "failed_files": [{"type": "t", "file_name": "b.jpg", "reason": "bad"}],
        "content_truncated": False,
    },
}
_JOB_NOTICE = {
    "type": "roboflow-batch-job-notification-v1",
    "event_id": "e",
    "job_id": "j",
    "job_state": "fail",
    "delivery_attempt": 1,
}


def _of_api(name: str, read: Callable[[bytes], object], *samples: bytes) -> Reader:
    return Reader(name, lambda data: _shown_safely(read(data)), (ProtocolError,), samples)


def _shown_safely(record: object) -> object:
    """A record must be one that can be shown and written down: no page of it may fail later."""
    repr(record)
    msgspec.json.encode(record, enc_hook=repr)
    return record


def _read_job(data: bytes) -> object:
    job = job_wire.parse_job(data)
    ours = {"type": "simple-image-processing-v1", "jobInput": {"batchId": "b"}}
    job_wire.is_same_definition(ours, job.definition)
    return job


OF_API = (
    _of_api("workspace", wire.parse_workspace, _json(workspace="w")),
    _of_api("grant", wire.parse_grant, _GRANT),
    _of_api("batch", wire.parse_batch, _json(batch=_BATCH)),
    _of_api("count", wire.parse_count, _json(count=12)),
    _of_api("batches", wire.parse_batches_page, _json(batches=[_BATCH], nextPageToken="t")),
    _of_api("shards", wire.parse_shards_page, _json(shards=[_SHARD, _SHARD], nextPageToken=None)),
    _of_api("files", wire.parse_files_page, _json(filesMetadata=[_FILE], nextPageToken="t")),
    _of_api("parts", wire.parse_parts, _json(batchParts=[{"partName": "p", "partType": "x", "contentType": "c"}])),
    _of_api("posted", wire.parse_object, _json(status="ok")),
    _of_api("job", _read_job, _json(job=_JOB)),
    _of_api("jobs", job_wire.parse_jobs_page, _json(jobs=[_JOB], nextPageToken=None)),
    _of_api("stages", job_wire.parse_stages, _json(stages=[_STAGE, _STAGE])),
    _of_api("tasks", job_wire.parse_tasks_page, _json(tasks=[_TASK], nextPageToken=None)),
    _of_api("logs", job_wire.parse_logs_page, _json(logs=[_LOG], nextPageToken="t")),
    _of_api("ingest", ingest_wire.parse_ingest, _json(ingestId="i", duplicated=True, shardIds=["s"])),
)


def _read_api_error(data: bytes) -> str:
    text = wire.parse_api_error(data, secrets=("c4n4ry",))
    assert text.isprintable()
    return text


def _read_failed_files(data: bytes) -> list[tuple[str, str]]:
    """As the rows of shards are: what is nested too deep has been refused."""
    try:
        metadata = wire.shallow(orjson.loads(data))
    except (orjson.JSONDecodeError, ProtocolError):
        return []
    found = list(failed_files(orjson.dumps(metadata).decode()))
    assert all(name.isprintable() and why.isprintable() for name, why in found)
    return found


def _read_store_error(data: bytes) -> tuple[str, str]:
    code, message = parse_store_error(data)
    assert excerpt(code).isprintable()
    assert excerpt(message, limit=400).isprintable()
    return code, message


# heads

_HEAD = (
    b'HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\nContent-Range: bytes 5-14/15\r\nETag: "abc"\r\n'
    b"Date: Thu, 26 Nov 2026 10:00:00 GMT\r\nx-goog-hash: crc32c=AAAAAA==,md5=1B2M2Y8AsgTpgAmY7PhCfg==\r\n\r\n"
)
_MARK = Mark('"abc"', 15, is_hashed=True, with_md5=False, boot="")


def _read_head(data: bytes) -> heads.Head:
    head = heads.parse_head(data)
    assert head.length is None or head.length >= 0
    assert not (head.is_chunked and head.length is not None)
    stored = stored_hashes(head.headers, is_partial=head.status == 206)
    judge_continued(head, _MARK, 5)
    mark_of(head, stored, boot="x")
    _read_times(head.headers.get("retry-after", "").encode() + b"|" + head.headers.get("date", "").encode())
    return head


def _read_times(data: bytes) -> tuple[float | None, float | None]:
    after, _, date = data.decode("latin-1").partition("|")
    wait = parse_retry_after(after, server_now=1_700_000_000.0)
    assert wait is None or 0 <= wait <= MAX_RETRY_AFTER_SECONDS
    return wait, parse_http_date(date)


def _read_url(data: bytes) -> float | None:
    return expiry_of(check_url(data.decode("utf-8", "surrogateescape"), allow_http=True).query)


# names and archives


def _read_name(data: bytes) -> str:
    path = safe_path(data.decode("utf-8", "surrogateescape"), windows=bool(data) and data[-1] % 2 == 0)
    check_safe(path)
    clash_key(path)
    return path


def check_safe(path: str) -> None:
    """Fail unless a path stays within its folder, whatever a file system makes of it."""
    parts = PurePosixPath(path).parts
    assert not path.startswith(("/", "\\"))
    assert path == "/".join(parts)
    assert ".." not in parts
    assert not any(character < " " or "\x7f" <= character < "\xa0" for character in path)
    assert "\\" not in path
    assert all(len(part.encode()) <= MAX_COMPONENT_BYTES for part in parts)


def _read_archive(data: bytes) -> list[tuple[str, int]]:
    pieces: Iterator[bytes] = (data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES))
    stream = TarStream(gunzip(pieces, LIMITS) if is_gzip(data[:2]) else pieces, most_headers=LIMITS.most_members)
    admission = Admission(LIMITS)
    taken = []
    while (found := stream.next_member()) is not None:
        try:
            path = admission.admit(found)
        except MemberRefused:
            continue
        size = sum(map(len, stream.content()))
        if path is not None:
            check_safe(path)
            assert size == found.size
            taken.append((path, size))
    assert sum(size for _, size in taken) <= LIMITS.most_bytes
    return taken


_TARS = (
    member("a.jpg", b"x" * 700) + member("sub/b.png", b"y" * 512) + END,
    pax(path="é/" * 20 + "x", size="3") + member("c", b"abc") + END,
    long_name("deep/" * 30 + "n") + member("d", b"abc") + END,
    b"".join(HOSTILE.values()) + END,
)


# files of users, and what processes say


def _read_reference(data: bytes) -> object:
    reference = reference_of(data, is_first=True)
    if reference is not None:
        assert "https" not in repr(reference)
        assert "/" not in reference.name
    return reference


def _read_notice(data: bytes) -> object:
    notice = parse_notice(data)
    assert len(notice.event_id) > 0
    digest_of(data)
    return subject_of(notice), msgspec.json.encode(notice)


def _read_frames(read: Callable[[BinaryIO], object], data: bytes) -> list[object]:
    found: list[object] = []
    stream = io.BytesIO(data)
    while (frame := read(stream)) is not None:
        found.append(frame)
        repr(frame)
    return found


def _framed(*said: frames.Order | frames.News) -> bytes:
    out = io.BytesIO()
    for frame in said:
        frames.FrameWriter(out).write(frame)
    return out.getvalue()


_ENTRY = Entry(0, b"a.jpg", "a.jpg", 3, 1, 2)
_GRANTED = Grant(SignedUrl(URL), {"a": "b"}, 100, 1.0, once_only=True)
_ORDERS = _framed(
    frames.SetUp({}, 1.0, None, allow_http=False, stall_seconds=1.0),
    frames.Send(1, ShardJob(1, (b"/x",), (_ENTRY,), b"", 2048, _GRANTED)),
    frames.Fetch(2, (FetchJob(2, SignedUrl(URL), b"/x", b"/x/.s", "a.jpg"),)),
    frames.CallOff(1),
)
_NEWS = _framed(
    frames.Moved(1, 2),
    frames.Sent(1, ShardResult(Outcome.STORED), 0.1),
    frames.Fetched(2, [], 0.1),
    frames.Failed(3, "NoRoom", ("a", "b", "c", "d")),
)


def _read_paths(data: bytes) -> list[bytes]:
    null = None if not data else (None, True, False)[data[0] % 3]
    paths = [path for path in paths_of(io.BytesIO(data), null=null, subject="list") if path is not None]
    assert all(paths)
    return paths


def _read_image(data: bytes) -> str:
    check = ImageCheck(len(data))
    for at in range(0, len(data), CHUNK_BYTES):
        check.take(memoryview(data)[at : at + CHUNK_BYTES])
    return check.fault() + str(container_of(data[:2048]))


_FLOW = (
    b'notifications_url = "https://me.example/hook"\n[[flow]]\nbatches = ["cam-*"]\noutput = "r/{batch}"\nexpect = 10\n'
    b'job = { workflow_id = "detect", machine = "gpu", parameters = { confidence = 0.4 } }\n'
)
_FLOWS = (_FLOW, b'[[flow]]\nbatches = ["a"]\noutput = "x"\n[flow.job]\nworkflow_id = "w"\n')
_REFERENCE = b'{"name": "a.jpg", "url": "https://bucket.example.com/a.jpg?X-Amz-Signature=abc&v=2", "more": [1, {}]}\n'
_XML = (
    b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>no &amp; no</Message>'
    b"<AuthenticationErrorDetail>why</AuthenticationErrorDetail></Error>"
)
_PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 900 + b"\0\0\0\0IEND\xaeB`\x82"
_JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF" + b"\0" * 20 + b"\xff\xda\0\x08" + b"z" * 800 + b"\xff\xd9"

READERS = (
    *OF_API,
    Reader("api-error", _read_api_error, (), (_json(error={"message": "no"}), _json(message="c4n4ry", hint="h"))),
    Reader("failed-files", _read_failed_files, (), (_json(failedFiles=[{"fileName": "a", "reason": "r"}, "b"]),)),
    Reader("store-error", _read_store_error, (), (_XML,)),
    Reader("head", _read_head, (heads.HeadFault,), (_HEAD, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")),
    Reader("times", _read_times, (), (b"120|Thu, 26 Nov 2026 10:00:00 GMT", b"Thu, 26 Nov 2026 10:00:00 GMT|x")),
    Reader("url", _read_url, (UrlFault,), (URL.encode(), b"https://x/?se=2026-11-26T10%3A00%3A00Z&sig=a")),
    Reader("name", _read_name, (UnsafeName,), (b"a/b.jpg", b"../x", b"C:\\x", "é/ü.tar.gz".encode(), b"con.txt")),
    Reader("archive", _read_archive, (ArchiveFault, ArchiveUnsafe), _TARS + tuple(map(packed, _TARS))),
    Reader("notice", _read_notice, (NotANotice,), (_json(**_INGEST_NOTICE), _json(**_JOB_NOTICE))),
    Reader("reference", _read_reference, (ReferenceFault,), (_REFERENCE,)),
    Reader("orders", partial(_read_frames, frames.read_order), (msgspec.MsgspecError, ValueError), (_ORDERS,)),
    Reader("news", partial(_read_frames, frames.read_news), (msgspec.MsgspecError, ValueError), (_NEWS,)),
    Reader("paths", _read_paths, (SourceError,), (b"a.jpg\nb/c.jpg\r\n", b"a\0b\0", b"\xef\xbb\xbf/x/y\n")),
    Reader("image", _read_image, (), (_PNG, _JPEG, b"RIFF\x10\0\0\0WEBPVP8 " + b"x" * 30, b"BM\x20\0\0\0" + b"x" * 26)),
    Reader("flows", lambda data: parse_flows(data.decode("utf-8", "replace")), (UsageError,), _FLOWS),
)
BY_NAME = {reader.name: reader for reader in READERS}
