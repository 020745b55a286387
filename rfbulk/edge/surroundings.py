"""This machine as a transfer meets it: the state folder's disk, limits, versions, and who has left credentials.

Reads names and never values of what is secret.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rfbulk import __version__
from rfbulk.edge.checkpoint_file import make_private_folder
from rfbulk.edge.locks import FileLock
from rfbulk.errors import CheckpointBusy, RfbulkError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN_VERSION: Final = __version__
LIBRARIES: Final = ("aiohttp", "uvloop", "anyio", "msgspec", "orjson", "click", "rich", "crc32c")
EXTRAS: Final = {"cloud": "obstore", "dask": "distributed", "metrics": "prometheus-client"}

_CREDENTIALS: Final = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_KEY"),
    "az": (
        *("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"),
        *("AZURE_STORAGE_CONNECTION_STRING", "AZURE_CLIENT_ID"),
    ),
}
_FILES: Final = {
    "s3": (".aws/credentials", ".aws/config"),
    "gs": (".config/gcloud/application_default_credentials.json",),
    "az": (".azure/azureProfile.json",),
}


def version_of(library: str) -> str | None:
    """Return which version of a library is installed, None if it is not."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def credentials(environment: Mapping[str, str], home: Path) -> dict[str, list[str]]:
    """Return by which names credentials of each cloud are at hand: variables and files, never what is in them."""
    found = {cloud: [name for name in names if environment.get(name)] for cloud, names in _CREDENTIALS.items()}
    for cloud, files in _FILES.items():
        found[cloud] += [f"~/{name}" for name in files if (home / name).is_file()]
    return {cloud: names for cloud, names in found.items() if names}


def try_state_folder(folder: Path) -> float:
    """Write, sync and lock a file where checkpoints are, remove it, and return how many seconds syncing took.

    Raises:
        UsageError: that does not work there.
        NoRoom: the disk is full.
    """
    make_private_folder(folder)
    path = folder / f".doctor-{os.getpid()}"
    try:
        return _try(path)
    except OSError as error:
        raise UsageError(
            "use",
            f"the state folder {folder}",
            cause=str(error.strerror),
            advice="make it writable, or choose another --state-dir",
        ) from None
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _try(path: Path) -> float:
    lock = FileLock(path)
    lock.acquire()
    try:
        began = time.perf_counter()
        descriptor = os.open(path, os.O_RDWR)
        try:
            os.write(descriptor, b"rfbulk")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        took = time.perf_counter() - began
        _check_that_it_locks(path)
    finally:
        lock.release()
    return took


def _check_that_it_locks(path: Path) -> None:
    other = FileLock(path)
    try:
        other.acquire()
    except CheckpointBusy:
        return
    except RfbulkError:
        raise
    other.release()
    raise UsageError("lock", str(path.parent), cause="two processes can lock one file there", advice="use a local disk")


def free_bytes(folder: Path) -> int:
    """Return what is free on the disk of a folder.

    Raises:
        OSError: it cannot be asked.
    """
    return shutil.disk_usage(folder).free


def file_system_of(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Return what kind of file system a folder is on, empty where the system does not say."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    whole = str(folder.resolve())
    best = ("", "")
    for line in lines:
        _, point, kind, *_ = [*line.split(), "", "", ""]
        point = point.replace("\\040", " ")
        if (whole == point or whole.startswith(point.rstrip("/") + "/")) and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


def open_file_limits() -> tuple[int, int] | None:
    """Return how many files this process may hold open, and to how many that may be raised; None if none is told."""
    try:
        import resource  # noqa: PLC0415 - there is none on Windows
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return tuple(-1 if each == resource.RLIM_INFINITY else each for each in (soft, hard))  # type: ignore[return-value]  # two
