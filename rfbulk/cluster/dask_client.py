"""The client of a Dask scheduler, and all that is said to it. Sets nothing global."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from rfbulk.errors import TroublePassing, UsageError

if TYPE_CHECKING:
    from rfbulk.cluster.parcels import Parcel
    from rfbulk.core.clusters import ClusterOptions

ANSWER_SECONDS: Final = 15.0
"""What a scheduler, or a worker's event loop, gets to answer."""

CONNECT_SECONDS: Final = 10.0


class ClusterLost(Exception):
    """The scheduler does not answer. It never leaves the room."""


class TaskLost(Exception):
    """A task's worker is gone, or the scheduler has forgotten the task."""


class Task(Protocol):
    """A task that was submitted."""

    key: Any


class DaskClient:
    """An open client. Made by `open_client`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    @property
    def is_alive(self) -> bool:
        """Whether the scheduler has answered so far. What was submitted before a break is lost."""
        return bool(self._client.status == "running")

    async def workers(self) -> dict[str, int]:
        """Return the addresses of all workers, and how many threads each has.

        Raises:
            ClusterLost: the scheduler does not answer.
        """
        found = await self._answer(self._client.nthreads())
        return {str(address): int(count) for address, count in found.items()}

    async def call(self, function: Callable[..., Any], *values: Any, workers: Sequence[str]) -> dict[str, Any]:
        """Call a function in each worker, outside of its tasks. Return what came, or the exception, by address.

        Raises:
            ClusterLost: the scheduler does not answer.
        """
        call = self._client.run(function, *values, workers=list(workers), on_error="return")
        return dict(await self._answer(call))

    def submit(self, function: Callable[..., Any], parcel: Parcel, task: str, worker: str) -> Task:
        """Have a task done by one worker and no other."""
        return self._client.submit(  # type: ignore[no-any-return]  # dask is untyped
            function, parcel, task, key=task, workers=[worker], allow_other_workers=False, pure=False, retries=0
        )

    async def result(self, task: Any) -> bytes:
        """Wait for a task and return what it returned.

        Raises:
            TaskLost: nobody will do it, or what it returned is lost.
            UsageError: the scheduler or the worker cannot read it.
        """
        try:
            return bytes(await task)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            raise TaskLost("the scheduler has forgotten it") from None
        except Exception as error:  # noqa: BLE001 - Dask raises what it likes, the tasks themselves nothing
            raise _translated(error) from None

    def forget(self, task: Any) -> None:
        """Wait no more for a task. One that has not begun never will."""
        with contextlib.suppress(Exception):
            task.release()

    def subscribe(self, topic: str, take: Callable[[Any], None]) -> None:
        """Have `take` called with what workers log under a topic."""
        self._client.subscribe_topic(topic, lambda event: take(event[1]))

    async def close(self) -> None:
        """Close it, without a wait for anybody."""
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._client.close(timeout=2), 4)

    async def _answer(self, call: Any) -> Any:
        try:
            return await asyncio.wait_for(call, ANSWER_SECONDS)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            raise ClusterLost("the connection to its scheduler has ended") from None
        except Exception as error:
            raise ClusterLost(type(error).__name__) from error


async def open_client(options: ClusterOptions, address: str, security: Any) -> DaskClient:
    """Connect to a scheduler.

    Raises:
        TroublePassing: it does not answer.
        UsageError: it speaks otherwise, or a certificate cannot be read.
    """
    client = library().Client(
        address,
        asynchronous=True,
        security=security,
        set_as_default=False,
        timeout=CONNECT_SECONDS,
        name="rfbulk",
    )
    try:
        await client
    except (OSError, TimeoutError) as error:
        with contextlib.suppress(Exception):
            await client.close(timeout=1)
        raise TroublePassing(
            "reach", f"the cluster at {address}", cause=_plain(error), advice="check that its scheduler runs"
        ) from None
    except (ValueError, RuntimeError, TypeError) as error:
        raise UsageError(
            "use",
            f"cluster {options.address}",
            cause=_plain(error),
            advice="is the scheduler running, and its address right?",
        ) from None
    return DaskClient(client)


def address_in(path: str) -> str:
    """Read the address that a scheduler wrote into its file. Blocking.

    Raises:
        UsageError: it is not there, or no such file.
    """
    try:
        return str(msgspec.json.decode(Path(path).read_bytes(), type=_SchedulerFile).address)
    except (OSError, msgspec.MsgspecError) as error:
        cause = error.strerror if isinstance(error, OSError) else "no scheduler has written it"
        raise UsageError(
            "read", f"the scheduler's file {path}", cause=str(cause), advice="name the file that the scheduler wrote"
        ) from None


class _SchedulerFile(msgspec.Struct):
    address: str


def security_of(options: ClusterOptions) -> Any:
    """Return how a `tls://` scheduler is spoken to, None for Dask's own configuration.

    Raises:
        UsageError: Dask is missing.
    """
    security = library().Security
    if options.ca is None:
        return None
    return security(
        tls_ca_file=options.ca,
        tls_client_cert=options.cert,
        tls_client_key=options.key,
        require_encryption=True,
    )


def library() -> Any:
    """Return Dask. It takes half a second, and is loaded only where a cluster is asked for.

    Raises:
        UsageError: it is missing.
    """
    try:
        import distributed  # noqa: PLC0415 - an extra
    except ImportError:
        raise UsageError(
            "use", "a cluster", cause="Dask is not installed", advice="pip install 'rfbulk[dask]'"
        ) from None
    return distributed


def _translated(error: Exception) -> Exception:
    name, text = type(error).__name__, str(error)
    if "deserializ" in text or isinstance(error, ImportError | AttributeError):
        return UsageError(
            "use",
            "the cluster",
            cause="its scheduler or a worker cannot read rfbulk's tasks",
            advice="install the same rfbulk[dask] there; `rfbulk cluster check` tells where",
        )
    if name in {"KilledWorker", "FutureCancelledError", "CancelledError", "FuturesDict"}:
        return TaskLost("the worker that did it is gone")
    return TaskLost(f"the scheduler gave it up: {name}")


def _plain(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__
