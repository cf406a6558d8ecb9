"""HTML and SVG, written so that nothing gets in unescaped: text is escaped unless it is `Markup` already."""

import re
from collections.abc import Iterable, Sequence
from html import escape

_VOID = {"meta", "br", "path", "rect", "line", "circle", "use"}
_PERCENT = re.compile(r"(?<=\d) %")


class Markup(str):
    """Text that is markup; only this module and constants of the code make it."""

    __slots__ = ()


Child = str | Iterable["Child"]


def text(words: str) -> Markup:
    """Make words fit to stand in markup; signs that cannot be seen, or that turn the reading order, are replaced.

    No line is broken between a number and its percent sign. A sender's own no-break spaces do not pass for spaces.

    >>> text("a < b")
    'a &lt; b'
    """
    visible = "".join(sign if sign.isprintable() or sign == "\n" else "\ufffd" for sign in words)
    return Markup(escape(_PERCENT.sub("\u00a0%", visible)))


def tag(name: str, /, *children: Child, **attributes: str | int | None) -> Markup:
    """Make an element.

    Args:
        name: Of the element.
        children: Text, markup, or iterables of both.
        attributes: `class_` is class, other underscores are hyphens; None leaves one out.

    >>> tag("p", "1 < 2", tag("b", "!"), class_="note")
    '<p class="note">1 &lt; 2<b>!</b></p>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Markup:
    """Put text and markup one behind the other."""
    return Markup("".join(_written(child) for child in children))


def _written(child: Child) -> str:
    if isinstance(child, Markup):
        return child
    return text(child) if isinstance(child, str) else join(child)


def table(head: Sequence[str], rows: Iterable[Iterable[Child]], class_: str, caption: str = "") -> Markup:
    """Make a table whose rows begin with their heading; each cell knows its column's name, for narrow screens."""
    return tag(
        "table",
        tag("caption", caption) if caption else "",
        tag("thead", tag("tr", *(tag("th", name, scope="col") for name in head))),
        tag("tbody", *(_table_row(head, list(row)) for row in rows)),
        class_=class_,
    )


def _table_row(head: Sequence[str], cells: list[Child]) -> Markup:
    first, *others = cells
    named = (tag("td", cell, data_name=name or None) for name, cell in zip(head[1:], others, strict=True))
    return join([tag("tr", tag("th", first, scope="row"), *named), Markup("\n")])
