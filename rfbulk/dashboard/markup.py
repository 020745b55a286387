"""HTML and SVG made of values: every text is escaped, whoever it came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TypeAlias

from rfbulk.core.wording import plain

Content: TypeAlias = "Markup | str | int | Iterable[Content] | None"


class Markup(str):
    """Text that is markup already. Anything else is escaped where it is put in."""

    __slots__ = ()


def markup(content: Content) -> Markup:
    """Return content as markup: texts with what they might command made harmless, lists joined."""
    if isinstance(content, Markup):
        return content
    if content is None:
        return Markup("")
    if isinstance(content, str | int):
        return Markup(escape(plain(str(content))))
    return Markup("".join(markup(each) for each in content))


def element(name: str, *content: Content, **attributes: Content) -> Markup:
    """Return an element. `class_` means `class`, `_` in a name means `-`; attributes that are None are left out."""
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{markup(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{shown}>{markup(content)}</{name}>")


def table(caption: str, headings: Sequence[str], rows: Iterable[Sequence[Content]]) -> Markup:
    """Return a table with a caption. A column whose heading ends with `#` holds numbers."""
    kinds = ["num" if heading.endswith("#") else None for heading in headings]
    head = [
        element("th", heading.rstrip("#"), scope="col", class_=kind)
        for heading, kind in zip(headings, kinds, strict=True)
    ]
    body = [
        element(
            "tr",
            element("th", row[0], scope="row", class_=kinds[0]),
            [element("td", cell, class_=kind) for cell, kind in zip(row[1:], kinds[1:], strict=True)],
        )
        for row in rows
    ]
    return element(
        "table",
        element("caption", caption),
        element("thead", element("tr", head)),
        element("tbody", body),
    )


def pairs(rows: Iterable[tuple[str, Content]]) -> Markup:
    """Return names and values."""
    return element("dl", [[element("dt", name), element("dd", value)] for name, value in rows], class_="pairs")
