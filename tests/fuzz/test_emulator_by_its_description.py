"""The emulator against the service's own descriptions, by schemathesis: any request is answered, and as described.

The descriptions in `tests/samples` are the service's, without its prose. Beyond them, refusals are 4xx with an `error`,
and the last page of a listing says `nextPageToken: null`, as the service does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.emulator import Emulator, EmulatorOptions, NewFile
from tests.fuzz.budget import EXAMPLES, IS_LONG, profile
from tests.support.batches import results_batch

try:
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance
except ImportError:
    pytest.skip("NOT TRIED: the emulator by its description, since schemathesis is missing", allow_module_level=True)

pytestmark = [pytest.mark.slow]
SAMPLES = Path(__file__).parent.parent / "samples"
SERVICES = ("data-staging", "batch-processing")
CHECKS = (not_a_server_error, content_type_conformance, response_schema_conformance)
BATCHES = ("results", "photos", "empty", "job-batch")


def operations() -> Iterator[Any]:
    for service in SERVICES:
        description = json.loads((SAMPLES / f"{service}.openapi.json").read_bytes())
        for found in schemathesis.openapi.from_dict(description).get_all_operations():
            operation: Any = found.ok()  # type: ignore[union-attr]  # else the description is broken, which raises
            yield pytest.param(operation, id=f"{operation.method} {operation.path}")


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """With batches of each kind, and a job."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Emulator(EmulatorOptions(page_size=3))) as emulator,
    ):
        parts, _ = results_batch()

        async def fill() -> None:
            await emulator.add_batch("results", parts=parts)
            await emulator.add_batch("photos", files=[NewFile("a.jpg", b"a"), NewFile("b.jpg", b"b", "shard-1")])

        portal.call(fill)
        yield emulator


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("operation", list(operations()))
def test_any_request_is_answered_as_described(emulator: Emulator, operation: Any) -> None:
    statuses: set[int] = set()

    @profile(EXAMPLES if IS_LONG else 20)
    @given(operation.as_strategy(), st.booleans(), st.sampled_from(BATCHES), st.integers(0, 9))
    def try_one(case: Any, is_known: bool, batch: str, chance: int) -> None:
        if chance:
            case.path_parameters["workspace"] = emulator.workspace
        if is_known and "batchId" in case.path_parameters:
            case.path_parameters["batchId"] = batch
        if is_known and "jobId" in case.path_parameters:
            case.path_parameters["jobId"] = "job-1"
        case.query = dict(case.query or {}) | ({"api_key": emulator.api_key} if chance else {})
        answer = case.call(base_url=emulator.url + base_of(operation))
        statuses.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    try_one()
    assert statuses & {200, 400, 404}, "the door was never opened"


def base_of(operation: Any) -> str:
    servers: list[dict[str, str]] = operation.schema.raw_schema["servers"]
    return servers[0]["url"]
