"""What a listing's page, or an archive's members, become in an export's checkpoint: known again, or given a path."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from rfbulk.core.exporting import Element, ElementState, FailReason, MemberFile
from rfbulk.core.landing import UnsafeName, safe_path
from rfbulk.edge import export_schema as schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfbulk.core.exporting import Listed, Part
    from rfbulk.core.fetching import FetchResult
    from rfbulk.edge.export_paths import PathBook

_KNOWN: Final = (
    f"SELECT {schema.COLUMNS} FROM elements WHERE part = ? AND name = ? AND shard = ? AND seen < ?"  # noqa: S608 - constants
    " ORDER BY ordinal LIMIT 1"
)
_INSERT: Final = (
    "INSERT INTO elements (id, part, shard, name, ordinal, seen, state, kind, path, is_apart)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_REFUSE: Final = "UPDATE elements SET state = ?, why = ?, detail = ? WHERE id = ?"
_INSERT_MEMBER: Final = (
    "INSERT INTO members (element, number, name, path, is_apart, staged, size, crc32c) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)


def safe_name(name: str) -> str:
    """Return a part's name as that of one folder."""
    try:
        return safe_path(name.replace("/", "_").replace("\\", "_"))
    except UnsafeName:
        return "part"


def unsafe(name: str) -> str:
    """Return why a name makes no path, nothing if it does."""
    try:
        safe_path(name)
    except UnsafeName as error:
        return str(error)
    return ""


def take_page(
    db: sqlite3.Connection, paths: PathBook, part: Part, listed: Sequence[Listed], run: int, *, is_new: bool
) -> tuple[list[Element], int]:
    """Record what a page lists and return it in the same order, and how many of it are new.

    One that is equal to others in part, shard and name is told from them by its place among them: the first of those
    that this run has not met yet. Of a part that `is_new`, earlier runs have listed nothing.
    """
    if is_new:
        return _add(db, paths, part, listed, run), len(listed)
    known = [_known_again(db, part.number, one, run) for one in listed]
    new = [one for one, element in zip(listed, known, strict=True) if element is None]
    added = iter(_add(db, paths, part, new, run))
    return [element or next(added) for element in known], len(new)


def _known_again(db: sqlite3.Connection, part: int, one: Listed, run: int) -> Element | None:
    row = db.execute(_KNOWN, (part, one.name, one.shard, run)).fetchone()
    if row is None:
        return None
    db.execute("UPDATE elements SET seen = ? WHERE id = ?", (run, row[0]))
    element = schema.element_from(row)
    return element if element.path else _refused(db, element)


def _add(db: sqlite3.Connection, paths: PathBook, part: Part, new: Sequence[Listed], run: int) -> list[Element]:
    if not new:
        return []
    first = db.execute("SELECT coalesce(max(id), 0) + 1 FROM elements").fetchone()[0]
    places = _places(db, paths, part.folder, new)
    ordinals = _ordinals(db, part.number, new, places)
    elements = [
        Element(
            id=number,
            part=part.number,
            shard=one.shard,
            name=one.name,
            ordinal=ordinal,
            state=ElementState.LISTED,
            kind=one.kind,
            path=path,
        )
        for number, (one, ordinal, (path, _)) in enumerate(zip(new, ordinals, places, strict=True), start=first)
    ]
    rows = [
        (e.id, e.part, e.shard, e.name, e.ordinal, run, int(e.state), e.kind, e.path, is_apart)
        for e, (_, is_apart) in zip(elements, places, strict=True)
    ]
    db.executemany(_INSERT, rows)
    return [element if element.path else _refused(db, element) for element in elements]


def _refused(db: sqlite3.Connection, element: Element) -> Element:
    """Fail a remote file whose name makes no path, on every run."""
    why = unsafe(element.name)
    db.execute(_REFUSE, (ElementState.FAILED, FailReason.NAME, why, element.id))
    return replace(element, state=ElementState.FAILED)


def _places(db: sqlite3.Connection, paths: PathBook, folder: str, new: Sequence[Listed]) -> list[tuple[str, bool]]:
    """Where each is to land, and whether that is another place than its own."""
    wanted = [_wanted(folder, one.name) for one in new]
    taken = iter(paths.take_all(db, [path for path in wanted if path]))
    return [((path := next(taken)), path != want) if want else ("", False) for want in wanted]


def _ordinals(
    db: sqlite3.Connection, part: int, new: Sequence[Listed], places: Sequence[tuple[str, bool]]
) -> list[int]:
    """How many there were of each before. One that got its own path is the first: an equal one would have it."""
    next_ordinal: dict[tuple[str, str], int] = {}
    sql = "SELECT count(*) FROM elements WHERE part = ? AND name = ? AND shard = ?"
    ordinals = []
    for one, (path, is_apart) in zip(new, places, strict=True):
        key = (one.name, one.shard)
        number = next_ordinal.get(key)
        if number is None:
            is_first = path and not is_apart
            number = 0 if is_first else db.execute(sql, (part, *key)).fetchone()[0]
        next_ordinal[key] = number + 1
        ordinals.append(number)
    return ordinals


def _wanted(folder: str, name: str) -> str:
    try:
        path = safe_path(name)
    except UnsafeName:
        return ""
    return f"{folder}/{path}" if folder else path


def own_path(db: sqlite3.Connection, element: Element) -> str:
    """Return the path that a remote file wants by its name, whichever it has."""
    row = db.execute("SELECT folder FROM parts WHERE id = ?", (element.part,)).fetchone()
    return _wanted("" if row is None else row[0], element.name)


def end_part(db: sqlite3.Connection, part: int, run: int) -> int:
    """Fail what is not listed any more and is not here. Returns how many those are."""
    sql = "UPDATE elements SET state = ?, why = ?, detail = ? WHERE part = ? AND seen < ? AND state = ?"
    detail = "the service listed it once, and does not any more"
    values = (ElementState.FAILED, FailReason.NOT_LISTED, detail, part, run, ElementState.LISTED)
    return db.execute(sql, values).rowcount


# archives


def members_of(db: sqlite3.Connection, element: int) -> list[MemberFile]:
    """Return the members of an archive, in their order."""
    sql = f"SELECT {schema.MEMBER_COLUMNS} FROM members WHERE element = ? ORDER BY number"  # noqa: S608 - constants
    return [schema.member_from(row) for row in db.execute(sql, (element,))]


def plan_members(db: sqlite3.Connection, paths: PathBook, element: Element, result: FetchResult) -> list[MemberFile]:
    """Record where the members of an archive are to land. One that was there before keeps its place."""
    places = _places_before(db, element.id)
    db.execute("DELETE FROM members WHERE element = ?", (element.id,))
    db.execute("DELETE FROM refused WHERE element = ?", (element.id,))
    wanted = [member_path(element, member.name) for member in result.members]
    kept = [places[member.name].pop(0) if places.get(member.name) else None for member in result.members]
    free = iter(paths.take_all(db, [want for want, path in zip(wanted, kept, strict=True) if path is None]))
    taken = [path or next(free) for path in kept]
    rows = [
        (element.id, number, member.name, path, path != want, member.staged, member.size, member.crc32c)
        for number, (member, path, want) in enumerate(zip(result.members, taken, wanted, strict=True))
    ]
    db.executemany(_INSERT_MEMBER, rows)
    db.executemany("INSERT INTO refused VALUES (?, ?, ?)", [(element.id, *why) for why in result.refused])
    sql = "UPDATE elements SET state = ?, size = ?, crc32c = ?, checked = ? WHERE id = ?"
    db.execute(sql, (ElementState.LANDING, result.size, result.crc32c, result.check, element.id))
    return [MemberFile(row[1], row[2], row[3], row[5], row[6], row[7]) for row in rows]


def member_path(archive: Element, name: str) -> str:
    """Return the path that a member wants: beside its archive."""
    folder = archive.path.rpartition("/")[0]
    return f"{folder}/{name}" if folder else name


def _places_before(db: sqlite3.Connection, element: int) -> dict[str, list[str]]:
    places: dict[str, list[str]] = {}
    for name, path in db.execute("SELECT name, path FROM members WHERE element = ? ORDER BY number", (element,)):
        places.setdefault(name, []).append(path)
    return places
