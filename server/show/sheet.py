"""One picture for a whole result: a contact sheet of frames, or a chart, each under its heading."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from foveal.server.show.chart import HEIGHT, TEXT, WIDTH, Chart, Shape, lay_out
from foveal.server.show.page import Heading, series_colour
from foveal.server.show.shots import Plate

if TYPE_CHECKING:
    from foveal.connectors.video.drawing import Canvas, Colour, Image

GROUND: Colour = (255, 255, 255)
_INK: Colour = (27, 31, 36)
_SOFT: Colour = (91, 100, 112)
_GRID: Colour = (215, 220, 225)
_CAPTION: Colour = (245, 247, 249)

EDGE = 16
"""Pixels around the sheet, and between two frames."""
LINE = 18
"""Pixels from one line of text to the next."""
_STATEMENT_LINES = 6


def contact_sheet(heading: Heading, plates: Sequence[Plate], *, cell: int = 400) -> Image:
    """Return the frames as a grid, uint8 RGB: up to four across, each no wider than `cell`."""
    from foveal.connectors.video.drawing import Canvas, fit

    small = [fit(plate.picture, cell) for plate in plates]
    across = min(len(plates), 2 if len(plates) <= 4 else 3 if len(plates) <= 9 else 4)
    lines = max(len(plate.caption) for plate in plates)
    wide = max(picture.shape[1] for picture in small)
    high = max(picture.shape[0] for picture in small)
    tall = high + lines * LINE + 8
    width = max(across * (wide + EDGE) + EDGE, 480)
    top, head = _head(heading, width)
    down = -(-len(plates) // across)
    canvas = Canvas(width, top + down * (tall + EDGE), GROUND)
    _write(canvas, head)
    for number, (plate, picture) in enumerate(zip(plates, small, strict=True)):
        left = EDGE + number % across * (wide + EDGE)
        upper = top + number // across * (tall + EDGE)
        card = [(left, upper), (left + wide - 1, upper)]
        canvas.area([*card, *((x, upper + tall - 1) for x, _ in reversed(card))], _CAPTION)
        canvas.paste(picture, left, upper)
        for row, text in enumerate(plate.caption):
            at = (left + 6, upper + high + LINE * (row + 1) - 2)
            colour = _SOFT if row else _INK
            canvas.text(clipped(text, wide - 12), at, colour, TEXT)
    return canvas.pixels


def chart_sheet(heading: Heading, chart: Chart) -> Image:
    """Return the chart as a picture, uint8 RGB."""
    from foveal.connectors.video.drawing import Canvas

    top, head = _head(heading, WIDTH)
    canvas = Canvas(WIDTH, top + HEIGHT, GROUND)
    _write(canvas, head)
    for shape in lay_out(chart):
        _draw(canvas, shape, top)
    return canvas.pixels


def _draw(canvas: Canvas, shape: Shape, top: int) -> None:
    points = [(x, y + top) for x, y in shape.points]
    colours = {"ink": _INK, "grid": _GRID}
    colour = colours.get(shape.role) or series_colour(shape.role)
    match shape.kind:
        case "text":
            canvas.text(shape.text, points[0], _INK, TEXT, anchor=shape.anchor)
        case "dot":
            canvas.dot(points[0], 3, colour)
        case "area":
            canvas.area(points, colour, 0.2)
        case _:
            canvas.line(points, colour, 1 if shape.role in colours else 2)


def _head(heading: Heading, width: int) -> tuple[int, list[tuple[str, Colour]]]:
    """Return where the pictures begin, and the lines above them with their colours."""
    room = width - 2 * EDGE
    statement = [part for line in heading.sql.splitlines() for part in wrapped(line, room)]
    if len(statement) > _STATEMENT_LINES:
        statement = [*statement[: _STATEMENT_LINES - 1], "…"]
    said = [line for line in (heading.answer, *heading.remarks) if line]
    lines = [(line, _INK) for line in statement]
    lines += [(part, _SOFT) for line in said for part in wrapped(line, room)]
    return EDGE + len(lines) * LINE + (10 if lines else 0), lines


def _write(canvas: Canvas, lines: Sequence[tuple[str, Colour]]) -> None:
    for row, (text, colour) in enumerate(lines):
        canvas.text(text, (EDGE, EDGE + LINE * row + TEXT), colour, TEXT)


def clipped(text: str, width: int) -> str:
    """Return the text, cut short with an ellipsis where it is wider than `width` pixels."""
    from foveal.connectors.video.drawing import text_width

    if text_width(text, TEXT) <= width:
        return text
    while text and text_width(text + "…", TEXT) > width:
        text = text[:-1]
    return text + "…"


def wrapped(text: str, width: int) -> list[str]:
    """Return the text as lines no wider than `width` pixels, broken at spaces."""
    from foveal.connectors.video.drawing import text_width

    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, TEXT) <= width:
            lines[-1] = longer
        else:
            lines.append(clipped(word, width))
    return lines
