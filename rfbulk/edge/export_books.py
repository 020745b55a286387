"""The books of an export, as its checkpoint tells them: counts, and names of what is worth naming."""

from __future__ import annotations

import sqlite3
from typing import Final

from rfbulk.core.export_report import ExportFailure, ExportTotals, KeptApart, RefusedMember
from rfbulk.core.exporting import ElementState, FailReason, Presence
from rfbulk.core.fetching import FetchKind

_HERE: Final = f"state = {int(ElementState.FETCHED)}"
_PLAIN: Final = f"kind = '{FetchKind.PLAIN}'"
_NAMED: Final = "coalesce((SELECT parts.name FROM parts WHERE parts.id = elements.part), '')"


def totals(db: sqlite3.Connection, numbers: str, run: int) -> ExportTotals:
    """Count what there is of the parts of these numbers, `,` between them."""
    where = f"part IN ({numbers})"
    states = db.execute(f"SELECT state, count(*) FROM elements WHERE {where} GROUP BY state").fetchall()  # noqa: S608 - numbers, as below
    sums = db.execute(
        f"SELECT sum({_HERE} AND run < ?), sum(size) FILTER (WHERE {_HERE} AND {_PLAIN}),"  # noqa: S608
        f" sum({_HERE} AND {_PLAIN}), sum(restored = ?), sum({_HERE} AND checked = 'none'),"
        f" sum({_HERE} AND {_PLAIN} AND is_apart), sum(restored = ? AND why = ?)"
        f" FROM elements WHERE {where}",
        (run, run, run, Presence.CHANGED),
    ).fetchone()
    here, size, files, restored_, unverified_, apart, changed = (int(value or 0) for value in sums)
    of_archives = f"element IN (SELECT id FROM elements WHERE {where} AND {_HERE} AND NOT {_PLAIN})"  # noqa: S608
    members = db.execute(f"SELECT count(*), sum(size), sum(is_apart) FROM members WHERE {of_archives}").fetchone()  # noqa: S608
    refused = db.execute(f"SELECT count(*) FROM refused WHERE {of_archives}").fetchone()[0]  # noqa: S608
    return ExportTotals(
        states={ElementState(state): count for state, count in states},
        here=here,
        bytes=size + int(members[1] or 0),
        files=files + int(members[0]),
        restored=restored_,
        changed_here=changed,
        unverified=unverified_,
        kept_apart=apart + int(members[2] or 0),
        refused_members=refused,
    )


def failures(db: sqlite3.Connection, numbers: str, limit: int) -> list[ExportFailure]:
    """Name remote files that have failed."""
    sql = (
        f"SELECT {_NAMED}, shard, name, why, detail FROM elements WHERE state = ? AND part IN ({numbers})"  # noqa: S608
        " ORDER BY id LIMIT ?"
    )
    rows = db.execute(sql, (ElementState.FAILED, limit))
    return [ExportFailure(part, shard, name, FailReason(why), detail) for part, shard, name, why, detail in rows]


def restored(db: sqlite3.Connection, numbers: str, run: int, limit: int) -> list[str]:
    """Name files that were not here as they had been left."""
    sql = f"SELECT path FROM elements WHERE restored = ? AND part IN ({numbers}) ORDER BY id LIMIT ?"  # noqa: S608
    return [row[0] for row in db.execute(sql, (run, limit))]


def unverified(db: sqlite3.Connection, numbers: str, limit: int) -> list[str]:
    """Name files that nothing but their own word says to be whole."""
    sql = (
        f"SELECT path FROM elements WHERE {_HERE} AND checked = 'none' AND part IN ({numbers})"  # noqa: S608
        " ORDER BY id LIMIT ?"
    )
    return [row[0] for row in db.execute(sql, (limit,))]


def kept_apart(db: sqlite3.Connection, numbers: str, limit: int) -> list[KeptApart]:
    """Name files that landed under another name than their own."""
    sql = (
        f"SELECT id, -1 AS number, {_NAMED}, name, path FROM elements"  # noqa: S608
        f" WHERE is_apart AND {_PLAIN} AND {_HERE} AND part IN ({numbers})"
        f" UNION ALL SELECT elements.id, members.number, {_NAMED}, members.name, members.path FROM members"
        f" JOIN elements ON elements.id = members.element"
        f" WHERE members.is_apart AND elements.{_HERE} AND elements.part IN ({numbers}) ORDER BY 1, 2 LIMIT ?"
    )
    return [KeptApart(*row[2:]) for row in db.execute(sql, (limit,))]


def refused_members(db: sqlite3.Connection, numbers: str, limit: int) -> list[RefusedMember]:
    """Name members of archives that were left out."""
    sql = (
        f"SELECT {_NAMED}, elements.name, refused.member, refused.reason FROM refused"  # noqa: S608
        f" JOIN elements ON elements.id = refused.element WHERE elements.part IN ({numbers}) LIMIT ?"
    )
    return [RefusedMember(*row) for row in db.execute(sql, (limit,))]
