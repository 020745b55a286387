"""Move image sets into Roboflow Data Staging and bring results home, fast and exactly once.

The names below are the library. They are loaded when first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rfbulk import errors, events
    from rfbulk.client import Client
    from rfbulk.client.audit_origins import VerifyOptions
    from rfbulk.client.running import RunOptions
    from rfbulk.client.sources import PathList
    from rfbulk.core.auditing import Difference, VerifyReport
    from rfbulk.core.export_report import ExportFailure, ExportReport
    from rfbulk.core.ingest_report import IngestReport
    from rfbulk.core.jobs import CompilationJob, Overrides, WorkflowJob
    from rfbulk.core.report import Failure, UploadReport
    from rfbulk.core.retry import RetryPolicy
    from rfbulk.core.run_report import RunReport
    from rfbulk.errors import RfbulkError
    from rfbulk.settings import ExportOptions, IngestOptions, ObjectOptions, Settings, UploadOptions

__version__ = "0.1.0"
__all__ = [
    "Client",
    "CompilationJob",
    "Difference",
    "ExportFailure",
    "ExportOptions",
    "ExportReport",
    "Failure",
    "IngestOptions",
    "IngestReport",
    "ObjectOptions",
    "Overrides",
    "PathList",
    "RetryPolicy",
    "RfbulkError",
    "RunOptions",
    "RunReport",
    "Settings",
    "UploadOptions",
    "UploadReport",
    "VerifyOptions",
    "VerifyReport",
    "WorkflowJob",
    "__version__",
    "errors",
    "events",
]

_HOMES = {
    "Client": "rfbulk.client",
    "CompilationJob": "rfbulk.core.jobs",
    "Difference": "rfbulk.core.auditing",
    "ExportFailure": "rfbulk.core.export_report",
    "ExportOptions": "rfbulk.settings",
    "ExportReport": "rfbulk.core.export_report",
    "Failure": "rfbulk.core.report",
    "IngestOptions": "rfbulk.settings",
    "IngestReport": "rfbulk.core.ingest_report",
    "ObjectOptions": "rfbulk.settings",
    "Overrides": "rfbulk.core.jobs",
    "PathList": "rfbulk.client.sources",
    "RetryPolicy": "rfbulk.core.retry",
    "RfbulkError": "rfbulk.errors",
    "RunOptions": "rfbulk.client.running",
    "RunReport": "rfbulk.core.run_report",
    "Settings": "rfbulk.settings",
    "UploadOptions": "rfbulk.settings",
    "UploadReport": "rfbulk.core.report",
    "VerifyOptions": "rfbulk.client.audit_origins",
    "VerifyReport": "rfbulk.core.auditing",
    "WorkflowJob": "rfbulk.core.jobs",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in {"errors", "events"}:
        return import_module(f"rfbulk.{name}")
    raise AttributeError(f"module 'rfbulk' has no attribute {name!r}")
