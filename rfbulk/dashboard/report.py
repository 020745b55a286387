"""The report that is handed on: one page, everything in it, nothing fetched, no script, fit to print."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from rfbulk.core.wording import duration, number, size
from rfbulk.dashboard.books import REFUSED, Books, books_of, books_so_far, remarks_of
from rfbulk.dashboard.cells import Place
from rfbulk.dashboard.markup import Content, Markup, element, pairs, table
from rfbulk.dashboard.plots import CELL_NAMES, plots, shard_map
from rfbulk.events import ExportProgress, UploadProgress

if TYPE_CHECKING:
    from rfbulk.dashboard.chronicle import Chronicle, Ending
    from rfbulk.dashboard.picture import About

_CSP: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_SIGNS: Final = {"good": "✔", "warn": "▲", "bad": "✖"}
_SERVICE_FAILED: Final = 6
_RESUMED: Final = {5, 7, 130, 143}
RETRY_FAILED: Final = "--retry-failed"


def report_page(chronicle: Chronicle, about: About) -> str:
    """Return the report as HTML. It is the same on a screen without network and on paper."""
    books = [each for report in chronicle.reports for each in books_of(report)] or books_so_far(chronicle)
    body = [
        _head(chronicle, about),
        _section("What went", _what_went(chronicle, books)),
        _section("How fast", _how_fast(chronicle)),
        _section("What failed", _what_failed(chronicle, about)),
        _section("How to go on", _how_to_go_on(chronicle, about, books)),
        _section("Shards", _shards(chronicle)) if len(chronicle.map) else None,
        _section("What was tried again", _tried_again(chronicle)),
        _section("Jobs", _jobs(chronicle)) if chronicle.jobs else None,
        _section("Phases", _phases(chronicle, about)),
        _section(
            "Settings and versions", pairs([*about.settings, ("rfbulk", about.version), ("folder", about.folder)])
        ),
    ]
    style = (resources.files("rfbulk.dashboard") / "page" / "report.css").read_text("utf-8")
    head = [
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_CSP}">'),
        Markup('<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">'),
        element("title", f"rfbulk {about.command}: {_outcome(chronicle)}"),
        Markup(f"<style>{style}</style>"),
    ]
    page = element("html", element("head", head), element("body", element("main", body)), lang="en")
    return f"<!doctype html>\n{page}\n"


def _section(title: str, *content: Content) -> Markup:
    return element("section", element("h2", title), content)


def _outcome(chronicle: Chronicle) -> str:
    return chronicle.ending.words if chronicle.ending is not None else "still under way"


def _tone(ending: Ending | None) -> str:
    if ending is None or ending.exit_code == 3 or ending.exit_code in _RESUMED:
        return "warn"
    return "good" if ending.exit_code == 0 else "bad"


def _head(chronicle: Chronicle, about: About) -> Markup:
    ending, tone = chronicle.ending, _tone(chronicle.ending)
    batches = ", ".join(dict.fromkeys(transfer.batch for transfer in chronicle.transfers))
    began = _moment(about.began)
    code = f" (exit code {ending.exit_code})" if ending is not None else ""
    return element(
        "header",
        element("h1", f"{about.command}{f': batch {batches}' if batches else ''}"),
        element("p", element("b", f"{_SIGNS[tone]} {_outcome(chronicle)}"), code, class_=f"outcome {tone}"),
        element("p", ending.error, class_="error") if ending is not None and ending.error else None,
        element("p", f"begun {began}, {duration(chronicle.now)} long", class_="muted"),
        element("pre", about.line),
    )


def _moment(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def _what_went(chronicle: Chronicle, books: list[Books]) -> Iterable[Markup]:
    if not books:
        yield element("p", "Nothing was moved.", class_="muted")
    for each in books:
        rows = [(name, f"{count:,}") for name, count in each.lines]
        total = [(f"{each.total_name}, the sum", f"{each.total:,}")]
        yield element("h3", each.title) if len(books) > 1 or not chronicle.transfers else Markup("")
        yield table(f"The books, in {each.unit}", ["became", "how many#"], [*rows, *total])
        if not each.closes:
            yield element("p", "✖ These do not add up: that is a defect of rfbulk. Please report it.", class_="bad")
        earlier = f"{each.earlier:,} of them by earlier runs" if each.earlier else ""
        beside = [f"{name}: {count:,}" for name, count in each.beside]
        yield element("ul", [element("li", note) for note in (*each.notes, *beside, earlier) if note])
    remarks = [remark for report in chronicle.reports for remark in remarks_of(report)]
    if remarks:
        yield element("ul", [element("li", remark) for remark in remarks])
    if chronicle.warnings:
        yield element("h3", "Warnings")
        yield element("ul", [element("li", text) for text in chronicle.warnings])


def _how_fast(chronicle: Chronicle) -> Iterable[Content]:
    progress = chronicle.progress
    unit = "files"
    if isinstance(progress, UploadProgress):
        unit = progress.content
        yield _averages(
            progress.bytes_on_the_wire, progress.images_sent - progress.images_before, unit, progress.seconds
        )
    elif isinstance(progress, ExportProgress):
        yield _averages(progress.bytes_received, progress.files_fetched, unit, progress.seconds)
    drawn = plots(chronicle, unit)
    step = chronicle.series.step_seconds
    yield drawn or element("p", "Nothing was measured.", class_="muted")
    if drawn:
        yield element("p", f"Time is that of this run alone; each point covers {duration(step)}.", class_="muted")


def _averages(moved: int, items: int, unit: str, seconds: float) -> Markup:
    if seconds <= 0:
        return Markup("")
    speed = f"{size(moved / seconds)}/s and {items / seconds:,.1f} {unit}/s"
    text = f"On average {speed} over {duration(seconds)}, retries counted in."
    return element("p", text)


def _what_failed(chronicle: Chronicle, about: About) -> Iterable[Content]:
    if not chronicle.reasons:
        yield element("p", "No file failed.", class_="muted")
        return
    total = sum(chronicle.reasons.values())
    rows = [(reason, f"{count:,}") for reason, count in chronicle.reasons.most_common()]
    yield table(f"{number(total, 'file')} by reason", ["reason", "how many#"], rows)
    has_details = any(each.detail for each in chronicle.named)
    named = [(each.path, each.reason, each.detail)[: 3 if has_details else 2] for each in chronicle.named]
    shown = f"The first {len(named):,} of {total:,}" if len(named) < total else f"All {total:,}"
    yield table(shown, ["file", "reason", *(["detail"] if has_details else [])], named)
    where = dict(about.settings).get("--report")
    if where is not None:
        yield element("p", f"Every file and its fate, as JSON lines: {where}")
    elif len(named) < total:
        yield element("p", "The same command with --report FILE.jsonl names them all.")


def _how_to_go_on(chronicle: Chronicle, about: About, books: list[Books]) -> Iterable[Content]:
    ending = chronicle.ending
    code = None if ending is None else ending.exit_code
    if code == 0:
        yield element("p", "There is nothing left to do.")
        return
    has_left = any(name == "left" and count for each in books for name, count in each.lines) or code in _RESUMED
    again = about.line.replace(" --restart", "")  # which would forget what is done
    if has_left:
        yield element("p", "To go on where this stopped, say the same again: what is done is not done again.")
        yield _command(about, again)
    yield from _what_to_try_again(about, books, again)
    if not has_left and chronicle.reasons and not _is_upload(about, books):
        yield element("p", "Once the reasons are gone, the same command tries again what failed, and nothing else:")
        yield _command(about, again)
    if code == _SERVICE_FAILED:
        yield element("p", "What the service has to say of it:")
        yield element("pre", [(question, Markup("\n")) for question in _questions(chronicle)])
    if not has_left and not chronicle.reasons:
        yield element("p", "Once the cause is mended, the same command goes on where this one ended:")
        yield _command(about, again)
    if "‹redacted›" in about.line:
        yield element("p", "What signs or opens something was left out above: put it in again.", class_="muted")


def _is_upload(about: About, books: list[Books]) -> bool:
    is_named_so = about.command in {"upload images", "upload videos"}
    return is_named_so and any("quarantined" in dict(each.lines) for each in books)


def _what_to_try_again(about: About, books: list[Books], again: str) -> Iterable[Content]:
    """What was planned and failed is in the checkpoint; what was refused before is found by reading the source."""
    if not _is_upload(about, books):
        return
    uploads = [dict((*each.lines, *each.beside)) for each in books]
    if any(each["quarantined"] + each["failed"] for each in uploads):
        yield element("p", "To try just what failed of what was planned, once its reason is gone:")
        yield _command(about, again if RETRY_FAILED in again else f"{again} {RETRY_FAILED}")
    refused = sum(each.get(REFUSED, 0) for each in uploads)
    if refused:
        text = f"{number(refused, 'file')} refused before planning: mended, they are found by the same command, which"
        yield element("p", f"{text} reads the source again, and sends nothing twice:")
        yield _command(about, again.replace(f" {RETRY_FAILED}", ""))


def _questions(chronicle: Chronicle) -> list[str]:
    batches = dict.fromkeys(transfer.batch for transfer in chronicle.transfers)
    asked = [f"rfbulk job show {job}" for job in chronicle.jobs]
    return [*asked, *(f"rfbulk batch shards {batch}" for batch in batches)]


def _command(about: About, line: str) -> Markup:
    return element("pre", f"cd {about.folder}" if about.folder else None, Markup("\n"), line)


def _shards(chronicle: Chronicle) -> Iterable[Content]:
    cells = chronicle.map
    yield shard_map(chronicle)
    rows = [(CELL_NAMES[place], f"{count:,}") for place, count in zip(Place, cells.totals(), strict=True) if count]
    yield table(f"{number(len(cells), 'shard')}, {cells.per_cell:,} to a cell", ["state", "how many#"], rows)
    yield element("p", "Filled: stored or indexed. Outline: planned. Slash: under way. Cross: failed.", class_="muted")


def _tried_again(chronicle: Chronicle) -> Iterable[Content]:
    if not chronicle.retries and not chronicle.troubles:
        yield element("p", "Nothing had to be tried again.", class_="muted")
        return
    yield table("By cause", ["cause", "times#"], [(cause, f"{n:,}") for cause, n in chronicle.retries.most_common()])
    if chronicle.troubles:
        rows = [(duration(each.seconds), each.subject, _why(each)) for each in chronicle.troubles]
        yield table("The last troubles", ["after", "what", "why"], rows)


def _why(trouble: Any) -> str:
    detail = f": {trouble.detail}" if trouble.detail and trouble.detail != trouble.cause else ""
    return f"{trouble.cause}{detail}"


def _jobs(chronicle: Chronicle) -> Iterable[Content]:
    for job, stages in chronicle.jobs.items():
        rows = [
            (
                f"{stage.stage} ({stage.stage_number} of {stage.stages})" if stage.stage else "not begun",
                stage.state,
                f"{stage.tasks_done:,} of {stage.tasks:,}",
                f"{stage.tasks_failed:,}",
                f"{stage.progress:.0%}",
            )
            for _, stage in sorted(stages.items())
        ]
        yield table(f"Job {job}", ["stage", "state", "tasks#", "failed#", "progress#"], rows)


def _phases(chronicle: Chronicle, about: About) -> Markup:
    spans = [*((f"step: {span.name}", span.began) for span in chronicle.steps)]
    spans += [(span.name, span.began) for span in chronicle.phases]
    spans.append((_outcome(chronicle), chronicle.now))
    rows = [
        (name, _moment(about.began + began), duration(began)) for name, began in sorted(spans, key=lambda each: each[1])
    ]
    return table("Phases overlap: sending begins with the first shard", ["began", "at", "after#"], rows)
