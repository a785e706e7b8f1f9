"""A self-contained HTML page: pictures as data URIs, charts as SVG, no script, nothing fetched."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from foveal.server.show.chart import HEIGHT, TEXT, WIDTH, Chart, Shape, lay_out
from foveal.server.show.shots import COLOURS, Plate


@dataclass(frozen=True, slots=True)
class Heading:
    """What stands over the pictures: the statement, its answer's interval and costs, remarks."""

    sql: str
    answer: str
    remarks: tuple[str, ...]


_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1b1f24; --soft: #5b6470; --line: #d7dce1;
  --card: #f5f7f9; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171b; --ink: #e8ebee; --soft: #9aa4af;
  --line: #363d45; --card: #1d2126; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 1.5rem; background: var(--ground); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; }
main { max-width: 1400px; margin: auto; }
pre { margin: 0 0 .6rem; padding: .8rem 1rem; overflow-x: auto; background: var(--card);
  border: 1px solid var(--line); border-radius: 6px; font: 13px/1.5 ui-monospace, monospace; }
p { margin: 0 0 .4rem; color: var(--soft); }
.shots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 380px), 1fr));
  gap: 1rem; margin-top: 1rem; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  overflow: hidden; }
figure img { display: block; width: 100%; height: auto; }
figcaption { padding: .5rem .7rem; font-size: 13px; overflow-wrap: anywhere; }
figcaption span { display: block; color: var(--soft); }
svg { display: block; width: 100%; height: auto; margin-top: 1rem; }
svg text { fill: var(--ink); font: 13px system-ui, sans-serif; }
svg .ink { stroke: var(--ink); fill: none; } svg .grid { stroke: var(--line); fill: none; }
svg text.ink { stroke: none; fill: var(--ink); }
svg polygon { stroke: none; fill-opacity: .2; }
svg polyline { stroke-width: 2; fill: none; }
svg polyline.ink, svg polyline.grid { stroke-width: 1; }
"""


def frames_page(heading: Heading, plates: Sequence[Plate]) -> str:
    """Return a page with a figure per frame."""
    return _page(heading, f'<div class="shots">\n{"".join(map(_figure, plates))}</div>')


def chart_page(heading: Heading, chart: Chart) -> str:
    """Return a page with a chart."""
    return _page(heading, svg(chart))


def svg(chart: Chart) -> str:
    """Return the chart as an SVG element that takes its colours from the page's style."""
    title = escape(f"{chart.y_name or 'values'} by {chart.x_name}")
    body = "\n".join(map(_element, lay_out(chart)))
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">\n'
        f"<title>{title}</title>\n{body}\n</svg>"
    )


def _element(shape: Shape) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
    (x, y) = shape.points[0]
    series = shape.role.isdecimal()
    colour = "#{:02x}{:02x}{:02x}".format(*series_colour(shape.role)) if series else ""
    match shape.kind:
        case "text":
            return (
                f'<text class="{shape.role}" x="{x:.1f}" y="{y:.1f}" font-size="{TEXT}" '
                f'text-anchor="{shape.anchor}">{escape(shape.text)}</text>'
            )
        case "dot":
            return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
        case "area":
            return f'<polygon points="{points}" fill="{colour}"/>'
        case _:
            paint = f'stroke="{colour}"' if series else f'class="{shape.role}"'
            return f'<polyline points="{points}" {paint}/>'


def series_colour(role: str) -> tuple[int, int, int]:
    """Return the colour of a series by its number; the first is blue, as charts' often are."""
    order = (4, 5, 2, 6, 1, 0, 3)
    return COLOURS[order[int(role) % len(order)]]


def _figure(plate: Plate) -> str:
    from foveal.connectors.video.drawing import encode_jpeg

    data = base64.b64encode(encode_jpeg(plate.picture)).decode("ascii")
    height, width = plate.picture.shape[:2]
    first, *rest = map(escape, plate.caption)
    lines = first + "".join(f"<span>{line}</span>" for line in rest)
    return (
        f'<figure><img width="{width}" height="{height}" alt="{first}" loading="lazy" '
        f'src="data:image/jpeg;base64,{data}">\n<figcaption>{lines}</figcaption></figure>\n'
    )


def _page(heading: Heading, body: str) -> str:
    # The policy makes it certain that opening the page fetches nothing and runs nothing.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    said = [line for line in (heading.answer, *heading.remarks) if line]
    paragraphs = "\n".join(f"<p>{escape(line)}</p>" for line in said)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(_first_line(heading.sql))}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n<pre><code>{escape(heading.sql)}</code></pre>\n{paragraphs}\n"
        f"{body}\n</main>\n</body>\n</html>\n"
    )


def _first_line(sql: str) -> str:
    line = " ".join(sql.split())
    return line if len(line) <= 80 else line[:79] + "…"
