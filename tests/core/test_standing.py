"""Standing flows, as a file describes them."""

from __future__ import annotations

import pytest

from rfbulk.core.standing import flow_for, parse_flows
from rfbulk.errors import UsageError

FLOWS = """
notifications_url = "https://me.example/hook"

[[flow]]
batches = ["cam-*", "spring"]
output = "results/{batch}"
stage = "processing"
expect = 100

[flow.job]
workflow_id = "detect"
machine = "gpu"
parameters = { confidence = 0.4, classes = ["cat"] }

[[flow]]
output = "others/{batch}"
job = { workflow_id = "segment", kind = "videos" }
"""


def test_a_file_of_flows_is_read_whole() -> None:
    first, second = parse_flows(FLOWS)
    assert (first.batches, first.stage, first.expect) == (("cam-*", "spring"), "processing", 100)
    assert (first.job.workflow_id, first.job.machine) == ("detect", "gpu")
    assert first.job.parameters == {"confidence": 0.4, "classes": ["cat"]}
    assert first.job.notifications_url == "https://me.example/hook"
    assert (second.batches, second.job.kind, second.allow_incomplete) == (("*",), "videos", False)


@pytest.mark.parametrize(("batch", "place"), [("cam-3", 0), ("spring", 0), ("spring-2", 1), ("camera", 1)])
def test_the_first_flow_whose_pattern_fits_is_the_one(batch: str, place: int) -> None:
    flows = parse_flows(FLOWS)
    assert flow_for(flows, batch) is flows[place]


def test_there_may_be_no_flow_for_a_batch() -> None:
    assert flow_for(parse_flows(FLOWS)[:1], "summer") is None


def test_the_folder_of_the_results_names_the_batch() -> None:
    assert parse_flows(FLOWS)[0].folder_for("cam-3") == "results/cam-3"


@pytest.mark.parametrize("batch", ["../x", "A", "", "a/b"])
def test_a_name_that_no_batch_can_have_leads_nowhere(batch: str) -> None:
    """It comes from a notification, which anybody who knows the key can send."""
    with pytest.raises(UsageError):
        parse_flows(FLOWS)[0].folder_for(batch)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "flow"),
        ("flow = []", "flow"),
        ("nonsense", "TOML|Expected"),
        ("[[flow]]\noutput = 'x/{batch}'", "job"),
        ("[[flow]]\njob = { workflow_id = 'w' }", "output"),
        ("[[flow]]\noutput = 'x/{batch}'\njob = { workflow_id = 'w' }\nmore = 1", "more"),
        ("[[flow]]\noutput = 'x/{batch}'\njob = { workflow_id = 'w', more = 1 }", "more"),
        ("[[flow]]\noutput = 'x/{batch}'\njob = { workflow_id = '' }", "workflow-id"),
        ("[[flow]]\noutput = 'x/{batch}'\njob = { workflow_id = 'w', machine = 'tpu' }", "tpu"),
        ("[[flow]]\noutput = 'x/{batch}'\nexpect = 0\njob = { workflow_id = 'w' }", "expect"),
        ("[[flow]]\noutput = 'x'\njob = { workflow_id = 'w' }", "meet"),
        ("[[flow]]\nbatches = ['cam-?']\noutput = 'x'\njob = { workflow_id = 'w' }", "meet"),
        ("[[flow]]\nbatches = []\noutput = 'x'\njob = { workflow_id = 'w' }", "batches"),
        ("a = " + "[" * 5000, "too deep"),
        ("a = 1" + "0" * 5000, "too long"),
    ],
)
def test_what_is_no_flow_is_refused_with_its_field(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse_flows(text)


def test_a_flow_for_one_batch_needs_no_place_for_its_name() -> None:
    (flow,) = parse_flows("[[flow]]\nbatches = ['spring']\noutput = 'x'\njob = { workflow_id = 'w' }")
    assert flow.folder_for("spring") == "x"
