"""The metrics that there are: their names, what they count, and by which labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from prometheus_client import Counter, Enum, Gauge, Histogram, Info

from rfbulk.events import Phase

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

SECONDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""From a shard on loopback to one on a line that is all but down."""

DELAYS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)


class Families:
    """All metrics, registered once. `rfbulk_` stands before every name.

    Raises:
        ValueError: the registry has metrics of these names already: one `Metrics` is enough for all transfers.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.info = Info("rfbulk", "The rfbulk that tells this.", registry=registry)
        self.phase = Enum("rfbulk_phase", "What the latest transfer does.", states=get_args(Phase), registry=registry)
        self.begun = self._counter("transfers_begun", "Transfers that have begun.", "kind")
        self.ended = self._counter("transfers_ended", "Transfers that have ended.", "kind", "outcome")
        self.warnings = self._counter("warnings", "Warnings.")
        self.requests_retried = self._counter("api_requests_retried", "Calls of the API that were said again.")
        self.retry_delay = self._histogram("retry_delay_seconds", "Waits before a further attempt.", DELAYS)
        self._upload()
        self._export()
        self._others()

    def _upload(self) -> None:
        self.upload_bytes = self._counter("upload_bytes", "Bytes given to connections, retries included.")
        self.upload_images = self._counter("upload_images", "Images, or videos, that are stored.")
        self.upload_shards = self._counter("upload_shards", "Shards that are stored.")
        self.upload_changes = self._counter("upload_shard_changes", "Changes of shards' states.", "state")
        self.upload_retries = self._counter("upload_retries", "Attempts that did not succeed.", "cause")
        self.upload_failures = self._counter("upload_failures", "Files named instead of sent.", "reason")
        self.upload_shard_seconds = self._histogram("upload_shard_seconds", "Attempts that stored a shard.", SECONDS)
        self.upload_planned_images = self._gauge("upload_planned_images", "Images found so far, with earlier runs.")
        self.upload_planned_bytes = self._gauge("upload_planned_bytes", "Their bytes.")
        self.upload_done_images = self._gauge("upload_done_images", "Those that are stored, with earlier runs.")
        self.upload_done_bytes = self._gauge("upload_done_bytes", "Their bytes.")
        self.upload_scanned = self._gauge("upload_scan_finished", "1 once the source has been read.")
        self.upload_in_flight = self._gauge("upload_shards_in_flight", "Shards that are under way.")
        self.upload_bytes_in_flight = self._gauge("upload_in_flight_bytes", "Bytes of attempts that have not ended.")
        self.upload_concurrency = self._gauge("upload_concurrency", "Shards that may be under way.")
        self.upload_waiting = self._gauge("upload_waiting", "Shards that wait, by what they wait for.", "wait")
        self.upload_rest = self._gauge("upload_rest_seconds", "What is left of a rest that the service asked for.")
        self.upload_left = self._gauge("upload_left_seconds", "The likely time left; NaN while nobody knows.")
        self.upload_success = self._gauge("upload_last_success_timestamp_seconds", "When a shard was last stored.")

    def _export(self) -> None:
        self.export_bytes = self._counter("export_bytes", "Bytes received, retries included.")
        self.export_files = self._counter("export_files", "Remote files that are here.")
        self.export_retries = self._counter("export_retries", "Attempts that did not succeed.", "cause")
        self.export_failures = self._counter("export_failures", "Remote files named instead of fetched.", "reason")
        self.export_listed = self._gauge("export_listed_files", "Remote files that are listed so far.")
        self.export_done = self._gauge("export_done_files", "Those that are here, with earlier runs.")
        self.export_all_listed = self._gauge("export_listing_finished", "1 once all is listed.")
        self.export_in_flight = self._gauge("export_fetches_in_flight", "Groups of files that are under way.")
        self.export_concurrency = self._gauge("export_concurrency", "Groups that may be under way.")
        self.export_waiting = self._gauge("export_waiting", "Groups that wait, by what they wait for.", "wait")
        self.export_rest = self._gauge("export_rest_seconds", "What is left of a rest that was asked for.")
        self.export_left = self._gauge("export_left_seconds", "The likely time left; NaN while nobody knows.")
        self.export_success = self._gauge("export_last_success_timestamp_seconds", "When a file last came whole.")

    def _others(self) -> None:
        self.ingest_references = self._gauge("ingest_accepted_references", "References that are accepted.")
        self.ingest_found = self._gauge("ingest_found_references", "References that were found.")
        self.ingest_requests = self._gauge("ingest_requests", "Requests that were accepted.")
        self.ingest_failures = self._gauge("ingest_failures", "References that cannot be asked for.")
        self.counted = self._gauge("confirm_counted_images", "Images that the service counts.")
        self.expected = self._gauge("confirm_expected_images", "Images that it is to count.")
        self.pending = self._gauge("confirm_pending_shards", "Shards that it has not taken in yet.")
        self.job_tasks = self._gauge("job_tasks", "Tasks of the stage that a job is in.", "state")
        self.job_progress = self._gauge("job_stage_progress_ratio", "How much of that stage is done.")
        self.expires = self._gauge("batch_expiry_timestamp_seconds", "When the batch expires; 0 for a new one.")
        self.notices = self._counter("notices", "Notifications received.", "delivery")
        self.flows = self._counter("flows_ended", "Standing flows that have ended.")
        self.audit_listed = self._gauge("audit_listed_files", "Names that an audit found listed.")
        self.audit_differences = self._gauge("audit_differences", "Differences that an audit found.")

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(f"rfbulk_{name}", told, labels, registry=self._registry)

    def _gauge(self, name: str, told: str, *labels: str) -> Gauge:
        return Gauge(f"rfbulk_{name}", told, labels, registry=self._registry)

    def _histogram(self, name: str, told: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"rfbulk_{name}", told, buckets=buckets, registry=self._registry)
