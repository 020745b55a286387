from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from rfbulk.core.export_report import ExportReport, Merged
from rfbulk.core.ingest_report import IngestReport
from rfbulk.core.job_watch import JobReport
from rfbulk.core.model import RefusalReason
from rfbulk.core.report import Failure, UploadReport
from rfbulk.core.run_report import RunReport, Step
from rfbulk.dashboard.books import books_of, books_so_far
from rfbulk.dashboard.chronicle import Chronicle, Ending
from rfbulk.dashboard.markup import Markup, element, markup
from rfbulk.dashboard.picture import About
from rfbulk.dashboard.plots import Lane, plot, scale
from rfbulk.dashboard.report import report_page
from rfbulk.events import IngestProgress, JobProgress, PhaseChanged, RunStepped, TransferBegun, Warned
from tests.dashboard.histories import ABOUT, EVIL, FETCHING, named, told, upload

REPORT = UploadReport(
    batch_id="spring",
    planned=1000,
    sent=900,
    quarantined=40,
    failed=10,
    left=50,
    already_sent=100,
    refused=7,
    shards_sent=9,
    unverified_shards=2,
    wall_seconds=12.0,
    failures=[Failure("/photos/1.jpg", "1.jpg", RefusalReason.EMPTY)],
)


class Page(HTMLParser):
    """The text of a page, the tags that it has, and whether each is closed in its turn."""

    VOID = ("meta",)

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [str(value) for name, value in attrs if name in {"src", "href", "xlink:href", "action"}]
        assert not {name for name, _ in attrs if name.startswith("on")}
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page_of(chronicle: Chronicle, about: About = ABOUT) -> Page:
    return Page(report_page(chronicle, about))


def ended(code: int = 3, words: str = "finished, but some files failed", error: str = "") -> Chronicle:
    chronicle = told(upload())
    chronicle.report(REPORT)
    chronicle.end(Ending(code, words, error), 12.0)
    return chronicle


def test_the_page_is_one_file_that_asks_for_nothing_and_runs_nothing() -> None:
    text = report_page(ended(), ABOUT)
    page = Page(text)
    assert page.links == []
    assert not {"script", "link", "iframe", "img", "object", "form"} & set(page.tags)
    assert "default-src 'none'" in text
    assert re.findall(r"url\(|@import", text) == []


def test_the_books_close_and_the_earlier_part_is_told_apart() -> None:
    text = page_of(ended()).text
    assert "sent 900 quarantined 40 failed 10 left 50 planned, the sum 1,000" in text
    assert "100 of them by earlier runs" in text
    assert "refused before planning: 7" in text
    assert "2 shards unverified" in text


def test_books_that_do_not_close_are_told_as_a_defect() -> None:
    chronicle = told(upload())
    chronicle.report(UploadReport(batch_id="spring", planned=5, sent=4))
    assert "These do not add up" in page_of(chronicle).text


def test_names_of_strangers_are_text_and_nothing_else() -> None:
    page = page_of(ended(error=EVIL), ABOUT)
    assert "img" not in page.tags
    assert "<img src=x onerror=alert(1)>\\x1b[31m\\u202egnp.jpg" in page.text
    assert "\x1b" not in page.text


def test_what_failed_is_named_and_the_way_to_try_just_that_again_is_exact() -> None:
    text = page_of(ended()).text
    assert "empty 1" in text
    assert "cd /home/me rfbulk upload images photos -b spring --retry-failed" in text
    assert "Every file and its fate, as JSON lines: fates.jsonl" in text


def test_what_was_refused_before_planning_is_found_by_the_same_command_alone() -> None:
    """The checkpoint knows nothing of it, so that --retry-failed would not try it."""
    about = About(command="upload images", line="rfbulk upload images p --restart", version="1", began=0.0)
    chronicle = told([(0.1, named(1))])
    chronicle.report(UploadReport(batch_id="spring", planned=5, sent=5, refused=1, is_confirmed=True))
    chronicle.end(Ending(3, "finished, but some files failed"), 12.0)
    text = page_of(chronicle, about).text
    assert "--retry-failed" not in text
    assert "1 file refused before planning: mended, they are found by the same command" in text
    assert "sends nothing twice: rfbulk upload images p Shards" in text or "twice: rfbulk upload images p What" in text


def test_a_report_names_the_first_failures_and_says_where_the_rest_is() -> None:
    chronicle = told([(0.1, named(number)) for number in range(2000)])
    chronicle.end(Ending(3, "finished, but some files failed"), 12.0)
    text = page_of(
        chronicle, About(command="upload images", line="rfbulk upload images p", version="1", began=0.0)
    ).text
    assert "2,000 files by reason" in text
    assert "The first 500 of 2,000" in text
    assert "--report FILE.jsonl names them all" in text


def test_an_export_is_retried_by_the_same_command() -> None:
    about = About(command="export", line="rfbulk export results here", version="1", began=0.0)
    chronicle = told([(0.1, named(1))])
    chronicle.report(ExportReport(batch_id="results", target="here", listed=2, fetched=1, failed=1))
    chronicle.end(Ending(3, "finished, but some files failed"), 1.0)
    text = page_of(chronicle, about).text
    assert "--retry-failed" not in text
    assert "the same command tries again what failed, and nothing else: rfbulk export results here" in text


def test_nothing_to_do_is_said_where_there_is_nothing() -> None:
    chronicle = told(upload()[:3])
    chronicle.report(UploadReport(batch_id="spring", planned=5, sent=5, is_confirmed=True, indexed=5))
    chronicle.end(Ending(0, "done and confirmed"), 12.0)
    text = page_of(chronicle).text
    assert "There is nothing left to do." in text
    assert "the service has indexed and counted 5" in text
    assert "No file failed." in text


def test_a_command_that_was_cancelled_has_the_books_of_its_last_progress() -> None:
    chronicle = told(upload())
    chronicle.end(Ending(130, "interrupted; the checkpoint is kept"), 12.0)
    text = page_of(chronicle).text
    assert "sent 300 left, or failed 700 found, the sum 1,000" in text
    assert "say the same again: what is done is not done again" in text
    assert "before its books were closed" in text


@pytest.mark.parametrize(
    "progress", [None, FETCHING, IngestProgress(1.0, 10, 4, 1, 1, 0, 0)], ids=["none", "export", "ingest"]
)
def test_unfinished_books_add_up(progress: object) -> None:
    chronicle = Chronicle()
    chronicle.progress = progress  # type: ignore[assignment]  # of these kinds it is
    assert all(books.closes for books in books_so_far(chronicle))


def test_every_report_has_its_books() -> None:
    export = ExportReport(batch_id="r", target="t", listed=3, fetched=3, merged=Merged(path="all.csv", files=1, rows=9))
    run = RunReport(batch_id="spring", job_id="j", target="t", upload=REPORT, exports=[export])
    ingest = IngestReport(batch_id="i", kind="images", planned=2, sent=2, ingest_failed=True)
    found = [*books_of(run), *books_of(ingest), *books_of("something else")]
    assert [(one.unit, one.closes) for one in found] == [("images", True), ("remote files", True), ("references", True)]
    assert "9 rows merged into all.csv, 0 lines could not be" in found[1].notes


def test_jobs_steps_and_warnings_are_told() -> None:
    job = JobProgress("job-1", "running", "export", 2, 2, 10, 5, 1, 2, 0.5, None)
    chronicle = told(
        [(0.1, RunStepped("upload")), (0.2, job), (0.3, Warned("the clock is wrong")), (1, PhaseChanged("done"))]
    )
    text = page_of(chronicle).text
    assert "Job job-1" in text
    assert "export (2 of 2) running 5 of 10 1 50%" in text
    assert "the clock is wrong" in text
    assert "step: upload" in text


def test_a_run_whose_job_failed_says_why_and_where_to_look() -> None:
    about = About(command="run", line="rfbulk run photos -w detect -o results", version="1", began=0.0)
    job = JobProgress("job-1", "failed", "processing", 1, 2, 10, 10, 1, 0, 1.0, None)
    chronicle = told([(0.1, TransferBegun("upload", "spring")), (0.2, job)])
    ended_job = JobReport(job_id="job-1", reasons=["out of memory"])
    chronicle.report(
        RunReport(
            batch_id="spring", job_id="job-1", target="t", step=Step.WAIT, stopped="the job failed", job=ended_job
        )
    )
    chronicle.end(Ending(6, "the service reports a failure"), 30.0)
    text = page_of(chronicle, about).text
    assert "the run ended at its step wait: the job failed out of memory" in text
    assert "rfbulk job show job-1 rfbulk batch shards spring" in text
    assert "the same command goes on where this one ended: rfbulk run photos" in text


def test_a_command_that_did_nothing_has_a_report_all_the_same() -> None:
    chronicle = Chronicle()
    chronicle.end(Ending(2, "could not begin", "there is no api key"), 0.1)
    text = page_of(chronicle).text
    assert "could not begin (exit code 2)" in text
    assert "there is no api key" in text
    assert "Nothing was moved." in text
    assert "Nothing was measured." in text


@pytest.mark.parametrize(
    ("most", "base", "expected"),
    [
        (0.0, 1000, 1),
        (1, 1000, 1),
        (3, 1000, 3),
        (10, 1000, 10),
        (14, 1000, 15),
        (998, 1000, 1000),
        (31 * 1024 * 1024, 1024, 40 * 1024 * 1024),
        (900 * 1024, 1024, 1000 * 1024),
    ],
)
def test_axes_end_at_round_numbers_that_hold_the_most(most: float, base: int, expected: float) -> None:
    top, ticks = scale(most, base)
    assert top >= most
    assert 2 <= len(ticks) <= 6
    assert top == expected


def test_markup_escapes_all_that_is_not_markup() -> None:
    assert element("p", "<&>", [Markup("<b>x</b>"), 5, None], class_='"', aria_label=None) == (
        '<p class="&quot;">&lt;&amp;&gt;<b>x</b>5</p>'
    )
    assert markup("\u202e") == "\\u202e"


def test_a_single_sample_is_seen_in_a_plot() -> None:
    drawn = plot(Lane("at once", [None, 4.0, None], str), 0.5)
    assert re.search(r'class="line" d="M[\d.]+,[\d.]+L[\d.]+,[\d.]+"', drawn)
