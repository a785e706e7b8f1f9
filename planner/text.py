"""Edits of the user's text in place, and the way back from an edited offset to the user's own.

The user's statement is never printed anew from a tree: names are replaced where they stand, so
that what DuckDB reads is what the user wrote, and an error's place can be mapped back.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

from foveal.errors import Span


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace `span` of a text by `text`."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Mapped:
    """An edited text that knows where each of its pieces came from.

    `starts[i]` is where piece i begins in `text`; `origins[i]` the (start, end) it stands for in
    the source. A kept piece maps character by character, a replaced one to its whole origin.
    """

    text: str
    starts: tuple[int, ...]
    origins: tuple[tuple[int, int], ...]
    kept: tuple[bool, ...]

    def source(self, span: Span) -> Span:
        """Return the source span that `span` of the edited text stands for."""
        return Span(self._back(span.start, last=False), self._back(span.end - 1, last=True) + 1)

    def _back(self, offset: int, *, last: bool) -> int:
        if not self.starts:
            return max(offset, 0)
        piece = max(0, bisect_right(self.starts, offset) - 1)
        begin, end = self.origins[piece]
        if self.kept[piece]:
            return begin + offset - self.starts[piece]
        return max(begin, end - 1) if last else begin

    def then(self, later: Mapped) -> Mapped:
        """Return the map of `later`, an edit of this text, straight back to this map's source."""
        starts: list[int] = []
        origins: list[tuple[int, int]] = []
        kept: list[bool] = []
        for start, (begin, end), is_kept in zip(
            later.starts, later.origins, later.kept, strict=True
        ):
            if not is_kept:
                back = self.source(Span(begin, max(end, begin + 1)))
                starts.append(start)
                origins.append((back.start, back.end))
                kept.append(False)
                continue
            # A kept piece may run over several pieces of ours: cut it at their borders.
            cuts = [begin, *(s for s in self.starts if begin < s < end), end]
            for low, high in pairwise(cuts):
                piece = max(0, bisect_right(self.starts, low) - 1)
                back = self.source(Span(low, high))
                starts.append(start + low - begin)
                origins.append((back.start, back.end))
                kept.append(self.kept[piece])
        return Mapped(later.text, tuple(starts), tuple(origins), tuple(kept))


def whole(text: str) -> Mapped:
    """Return `text` as it is."""
    return Mapped(text, (0,), ((0, len(text)),), (True,))


def apply(text: str, edits: list[Edit], within: Span | None = None) -> Mapped:
    """Return `text[within]` with every edit that lies inside it made.

    An edit inside the span of a larger edit is dropped: the larger one rewrote that part.

    >>> apply("SELECT a FROM b", [Edit(Span(14, 15), "x")]).text
    'SELECT a FROM x'
    """
    area = within or Span(0, len(text))
    inside = [e for e in edits if e.span.start >= area.start and e.span.end <= area.end]
    inside.sort(key=lambda e: (e.span.start, -e.span.end))
    pieces: list[str] = []
    starts: list[int] = []
    origins: list[tuple[int, int]] = []
    kept: list[bool] = []
    at, length = area.start, 0

    def add(piece: str, begin: int, end: int, *, is_kept: bool) -> None:
        nonlocal length
        if piece:
            pieces.append(piece)
            starts.append(length)
            origins.append((begin, end))
            kept.append(is_kept)
            length += len(piece)

    for edit in inside:
        if edit.span.start < at:
            continue
        add(text[at : edit.span.start], at, edit.span.start, is_kept=True)
        add(edit.text, edit.span.start, edit.span.end, is_kept=False)
        at = edit.span.end
    add(text[at : area.end], at, area.end, is_kept=True)
    return Mapped("".join(pieces), tuple(starts), tuple(origins), tuple(kept))


def quote(name: str) -> str:
    """Return `name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """Return `value` as an SQL string literal."""
    return "'" + value.replace("'", "''") + "'"
