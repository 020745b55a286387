"""Three accounts of one batch, held against each other: what was sent, what is listed, what the source has now.

They meet by member name, group by group. A file that was sent anew after it had changed bears the same name with a
mark in it, so groups go by the name without that mark.

| the file is | sent | listed | in the source | what is said |
| --- | --- | --- | --- | --- |
| | yes | no | | lost |
| | | no, and its shard is not taken in yet | | pending |
| | | more than once | | doubled |
| | no | yes | no | unknown: somebody else's |
| | no | yes | yes | elsewhere: another machine has sent it, which is no difference |
| | no | no | yes | new |
| | yes | yes | other bytes now | changed |
| | yes | yes | no | gone |
| | planned | | | left: an unfinished upload |
| | failed | | | failed, as an earlier run has named it |
"""

from __future__ import annotations

import re
from collections import defaultdict
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_NAMED: Final = 1000
"""Differences that a report in memory names; the report file names all."""

_MARK: Final = re.compile(r"%~[0-9a-f]{8}(?=(?:\.[^.]*)?\Z)")
FileKey: TypeAlias = tuple[int, int, bytes]


class DifferenceKind(StrEnum):
    """What two accounts do not agree on."""

    LOST = "lost"  # sent, and not listed
    PENDING = "pending"  # sent, and not taken in yet
    DOUBLED = "doubled"  # listed more than once
    UNKNOWN = "unknown"  # listed, and neither sent from here nor in the source
    GONE = "gone"  # sent, and not in the source any more
    CHANGED = "changed"  # sent, and different in the source now
    NEW = "new"  # in the source, never sent from here, and not listed
    FAILED = "failed"  # named by an earlier run
    LEFT = "left"  # planned by a run that has not come to its end
    REFUSED = "refused"  # in the source, and cannot be sent
    FAILED_SHARD = "failed-shard"  # the service could not take it in, or not all of it
    MISCOUNTED = "miscounted"  # the service counts another number than it lists
    DAMAGED = "damaged-checkpoint"  # not all that was sent is known any more


class Difference(msgspec.Struct, frozen=True):
    """One thing on which the accounts differ. `path` is the file as text, empty where none is known."""

    kind: DifferenceKind
    name: str
    path: str = ""
    detail: str = ""


class Fate(StrEnum):
    """What a checkpoint says of a file."""

    SENT = "s"
    PENDING = "p"  # sent, and the service says that it has not taken in its shard yet
    LEFT = "l"
    FAILED = "f"


ARRIVED: Final = frozenset({Fate.SENT, Fate.PENDING})


class Found(msgspec.Struct, frozen=True, gc=False):
    """A file that the source has now. `print` tells its content from another; it begins with the size."""

    name: str
    origin: int
    root: int
    path: bytes
    print: bytes


class SentFile(msgspec.Struct, frozen=True, gc=False):
    """A file as a checkpoint has it."""

    name: str
    fate: Fate
    origin: int
    root: int
    path: bytes
    print: bytes


class NamedFile(msgspec.Struct, frozen=True, gc=False):
    """A file that an earlier run has named instead of sent, or after it was sent."""

    name: str
    origin: int
    root: int
    path: bytes
    why: str


class Group(msgspec.Struct):
    """All that the accounts say of one name. `listed` counts each spelling of it."""

    key: str
    found: list[Found] = []
    sent: list[SentFile] = []
    named: list[NamedFile] = []
    listed: dict[str, int] = {}

    @property
    def files(self) -> list[Found | SentFile | NamedFile]:
        """All files that bear the name, those that were sent first."""
        return [*self.sent, *self.named, *self.found]


class Doubt(msgspec.Struct, frozen=True):
    """A file that was sent and that the scan has not met: whoever can look at it says what is true of it."""

    file: SentFile


class Terms(msgspec.Struct, frozen=True):
    """Under what terms the accounts are held against each other, by the numbers of their origins.

    `audited` are origins whose files are answered for; those of others only make names known. `sources` are those
    whose files were looked at. `roots` are the folders in which their paths begin. `is_open`: somebody fills the batch
    with names that cannot be known here.
    """

    audited: frozenset[int]
    sources: frozenset[int]
    roots: tuple[tuple[bytes, ...], ...] = ()
    is_open: bool = False

    def shown(self, file: Found | SentFile | NamedFile) -> str:
        """Return a file's whole path as text, empty for what has none."""
        if not file.path:
            return ""
        roots = self.roots[file.origin] if file.origin < len(self.roots) else ()
        root = roots[file.root].rstrip(b"/") + b"/" if file.root < len(roots) else b""
        return (root + file.path).decode("utf-8", "backslashreplace")


class Books(msgspec.Struct):
    """The running numbers, of which three equations must hold.

    - `sent == once + twice + lost + pending`
    - `listed == known + unknown + repeated`
    - `in_source == same + changed + new + elsewhere + unfinished`
    """

    sent: int = 0
    once: int = 0
    twice: int = 0
    lost: int = 0
    pending: int = 0
    listed: int = 0
    known: int = 0
    unknown: int = 0
    repeated: int = 0
    in_source: int = 0
    same: int = 0
    changed: int = 0
    new: int = 0
    elsewhere: int = 0
    unfinished: int = 0
    differences: dict[str, int] = {}

    @property
    def close(self) -> bool:
        """Whether all three equations hold."""
        return (
            self.sent == self.once + self.twice + self.lost + self.pending
            and self.listed == self.known + self.unknown + self.repeated
            and self.in_source == self.same + self.changed + self.new + self.elsewhere + self.unfinished
        )

    def agree(self, *, in_all: int = 0, sent_and_listed: int = 0, found_and_listed: int = 0) -> None:
        """Take in names on which nothing is to be said: those of all accounts, or of two where there is no third."""
        self.sent += in_all + sent_and_listed
        self.once += in_all + sent_and_listed
        self.listed += in_all + sent_and_listed + found_and_listed
        self.known += in_all + sent_and_listed + found_and_listed
        self.in_source += in_all + found_and_listed
        self.same += in_all
        self.elsewhere += found_and_listed

    def agree_as(self, plain: Books) -> None:
        """Take in names on which nothing is to be said, counted elsewhere."""
        for name in ("sent", "once", "listed", "known", "in_source", "same", "elsewhere"):
            setattr(self, name, getattr(self, name) + getattr(plain, name))

    def count(self, difference: Difference) -> None:
        """Count a difference by its kind."""
        self.differences[difference.kind] = self.differences.get(difference.kind, 0) + 1


class VerifyReport(msgspec.Struct, kw_only=True):
    """What an audit of a batch came to.

    `books` hold the numbers, and `differences` in them counts what is named; `differences` here names the first
    thousand. `counted` is what the service counts. `notes` say what could not be compared, in words.
    """

    batch_id: str
    workspace: str = ""
    content: str = "images"
    checkpoints: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    counted: int | None = None
    shards: dict[str, int] = {}
    books: Books = msgspec.field(default_factory=Books)
    differences: list[Difference] = []
    notes: list[str] = []
    wall_seconds: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether all accounts say the same."""
        return not self.books.differences and self.closes

    @property
    def closes(self) -> bool:
        """Whether the books close. If they do not, rfbulk has a defect."""
        return self.books.close


def key_of(name: str) -> str:
    """Return a name without the mark of a file that was sent anew: what its group goes by."""
    return _MARK.sub("", name) if "%~" in name else name


def judge(group: Group, terms: Terms, books: Books) -> Iterator[Difference | Doubt]:
    """Hold against each other what is said of one name, and take it into the books. What differs comes back."""
    yield from _judge_listing(group, terms, books)
    yield from _judge_sent(group, terms, books)
    yield from _judge_sources(group, terms, books)


def _judge_listing(group: Group, terms: Terms, books: Books) -> Iterator[Difference]:
    ours = {each.name for each in group.files}
    for name, count in group.listed.items():
        books.listed += count
        books.repeated += count - 1
        path = _path_of(group, name, terms)
        if name in ours:
            books.known += 1
        else:
            books.unknown += 1
            if not terms.is_open:
                yield Difference(DifferenceKind.UNKNOWN, name, "", "listed, and neither sent from here nor in a source")
        if count > 1:
            yield Difference(DifferenceKind.DOUBLED, name, path, _why_doubled(group, name, count))


def _why_doubled(group: Group, name: str, count: int) -> str:
    files = {_file(each) for each in group.sent if each.name == name and each.fate in ARRIVED}
    why = f"; {len(files)} files were sent under this name" if len(files) > 1 else ""
    return f"listed {count} times{why}"


def _judge_sent(group: Group, terms: Terms, books: Books) -> Iterator[Difference]:
    named = {(each.name, *_file(each)): each.why for each in group.named}
    sent: dict[str, list[SentFile]] = defaultdict(list)
    for each in group.sent:
        if each.fate in ARRIVED:
            sent[each.name].append(each)
        elif each.origin in terms.audited:
            why = named.get((each.name, *_file(each)), "an earlier run has failed to send it")
            yield _unsent(each, group, terms, why)
    for name, files in sent.items():
        yield from _judge_arrived(name, files, group, terms, books)
    told = {(each.name, *_file(each)) for each in group.sent}
    for entry in group.named:
        if entry.origin in terms.audited and (entry.name, *_file(entry)) not in told:
            yield Difference(DifferenceKind.FAILED, entry.name, terms.shown(entry), entry.why)


def _unsent(file: SentFile, group: Group, terms: Terms, why: str) -> Difference:
    is_listed = "; it is listed all the same" if group.listed.get(file.name) else ""
    if file.fate is Fate.LEFT:
        return Difference(DifferenceKind.LEFT, file.name, terms.shown(file), f"an earlier run has left it{is_listed}")
    return Difference(DifferenceKind.FAILED, file.name, terms.shown(file), f"{why}{is_listed}")


def _judge_arrived(
    name: str, files: Sequence[SentFile], group: Group, terms: Terms, books: Books
) -> Iterator[Difference]:
    """Of several files of one name, some of which are listed, nobody knows which: the last ones are called lost."""
    count = group.listed.get(name, 0)
    why = {_file(each): each.why for each in group.named if each.name == name}
    for place, each in enumerate(files):
        if each.origin not in terms.audited:
            continue
        books.sent += 1
        if place < count:
            books.once += count == 1
            books.twice += count > 1
            continue
        if each.fate is Fate.PENDING:
            books.pending += 1
            yield Difference(DifferenceKind.PENDING, name, terms.shown(each), "the service has not taken it in yet")
            continue
        books.lost += 1
        clash = f"{len(files)} files were sent under this name, {count} listed" if count else "sent, and not listed"
        yield Difference(DifferenceKind.LOST, name, terms.shown(each), why.get(_file(each), clash))


def _judge_sources(group: Group, terms: Terms, books: Books) -> Iterator[Difference | Doubt]:
    arrived = [each for each in group.sent if each.fate in ARRIVED]
    by_file: dict[FileKey, list[SentFile]] = defaultdict(list)
    for each in arrived:
        by_file[_file(each)].append(each)
    told: list[SentFile | NamedFile] = [*group.sent, *group.named]
    unfinished = {_file(each) for each in told} - set(by_file)
    spare = dict(group.listed)
    for each in arrived:
        spare[each.name] = spare.get(each.name, 0) - 1
    for found in group.found:
        books.in_source += 1
        sent = by_file.pop(_file(found), None)
        if sent is not None:
            yield from _judge_known(found, sent, terms, books)
        elif _file(found) in unfinished:
            books.unfinished += 1
        elif spare.get(found.name, 0) > 0:
            spare[found.name] -= 1
            books.elsewhere += 1
        else:
            books.new += 1
            yield Difference(DifferenceKind.NEW, found.name, terms.shown(found), "never sent from here, and not listed")
    for file, sent in by_file.items():
        if file[0] in terms.sources:
            yield Doubt(sent[-1])


def _judge_known(found: Found, sent: Sequence[SentFile], terms: Terms, books: Books) -> Iterator[Difference]:
    if any(each.print == found.print for each in sent):
        books.same += 1
        return
    books.changed += 1
    yield Difference(
        DifferenceKind.CHANGED, sent[-1].name, terms.shown(found), why_changed(sent[-1].print, found.print)
    )


def why_changed(then: bytes, now: bytes) -> str:
    """Say in what a file differs, from two fingerprints that begin with its size."""
    before, after = then.partition(b":")[0], now.partition(b":")[0]
    if before != after and before.isdigit() and after.isdigit():
        return f"sent with {int(before):,} bytes, {int(after):,} now"
    return "sent before, and different now"


def _file(each: Found | SentFile | NamedFile) -> FileKey:
    return each.origin, each.root, each.path


def _path_of(group: Group, name: str, terms: Terms) -> str:
    """Return the file behind a name, empty if none is known."""
    for each in group.files:
        if each.name == name:
            return terms.shown(each)
    return ""
