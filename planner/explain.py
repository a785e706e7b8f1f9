"""A plan as people and tools read it: indented text with the alternatives, or JSON."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from foveal.planner.physical import Alternative, Physical
from foveal.planner.pixel_order import PixelOrder
from foveal.planner.tree import Node, render
from foveal.reports import QueryReport


def alternatives_of(node: Node) -> tuple[Alternative, ...]:
    """Return the alternatives weighed for this node, chosen one first in cost order."""
    found = getattr(node, "alternatives", ())
    return tuple(a for a in found if isinstance(a, Alternative))


def explain_text(
    plan: Physical,
    logical: tuple[tuple[str, Node], ...] = (),
    report: QueryReport | None = None,
) -> str:
    """Return the plan as text.

    `logical` are the stages shown by VERBOSE, (name, plan). `report` is what ANALYZE measured.
    """
    lines: list[str] = []
    for name, stage in logical:
        lines += [f"-- {name}", render(stage), ""]
    if logical:
        lines.append("-- physical plan")
    lines += _with_alternatives(plan, "", "")
    if report is not None:
        lines += ["", *_measured(plan, report)]
    return "\n".join(lines)


def _with_alternatives(node: Node, first: str, rest: str) -> list[str]:
    lines = [first + node.label()]
    below = node.children()
    bar = "│ " if below else "  "
    pixels = getattr(node, "pixels", None)
    if isinstance(pixels, PixelOrder):
        lines += [f"{rest}{bar} {line}" for line in pixels.lines()]
    choices = alternatives_of(node)
    if choices:
        width = max(len(a.name) for a in choices)
        for a in choices:
            mark = "*" if a.why.startswith("chosen") or len(choices) == 1 else " "
            if a.applies:
                line = (
                    f"{mark} {a.name:<{width}}  calls {a.calls}  decode {a.decode:.2f} s  "
                    f"detect {a.detect:.2f} s  train {a.train:.2f} s  total {a.total:.2f} s  "
                    f"{a.guarantee}"
                )
            else:
                line = f"{mark} {a.name:<{width}}"
            lines.append(f"{rest}{bar} {line}" + (f"  ({a.why})" if a.why else ""))
    for i, child in enumerate(below):
        last = i == len(below) - 1
        lines += _with_alternatives(
            child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  ")
        )
    return lines


def chosen(plan: Node) -> list[Alternative]:
    """Return the alternatives that the plan will run, in plan order."""
    found = [a for a in alternatives_of(plan) if a.why.startswith("chosen")]
    if found:
        return found  # what lies below serves this choice
    if len(alternatives_of(plan)) == 1:
        found = list(alternatives_of(plan))
    for child in plan.children():
        found += chosen(child)
    return found


def _measured(plan: Physical, report: QueryReport) -> list[str]:
    picks = chosen(plan)
    calls = sum(a.calls for a in picks)
    decode, detect = sum(a.decode for a in picks), sum(a.detect for a in picks)
    total = sum(a.total for a in picks)
    seconds = report.seconds
    rows = [
        ("detector calls", f"{calls}", f"{report.detector_calls}"),
        ("frames decoded", "", f"{report.frames_decoded}"),
        ("decode s", f"{decode:.2f}", f"{seconds.get('decode', 0.0):.2f}"),
        ("detect s", f"{detect:.2f}", f"{seconds.get('detect', 0.0):.2f}"),
        ("train s", f"{sum(a.train for a in picks):.2f}",
         f"{seconds.get('train', 0.0) + seconds.get('proxy', 0.0):.2f}"),
        ("estimate s", "", f"{seconds.get('estimate', 0.0):.2f}"),
        ("total s", f"{total:.2f}", f"{seconds.get('total', 0.0):.2f}"),
    ]  # fmt: skip
    rows += [(f"{name}()", "", f"{calls}") for name, calls in report.pixel_calls.items()]
    lines = [f"{'':<16}{'estimated':>10}{'measured':>10}"]
    lines += [f"{name:<16}{a:>10}{b:>10}" for name, a, b in rows]
    lines += [f"{what}  passed by {n} of {of}" for what, (of, n) in report.pixel_steps.items()]
    if report.calls_for:
        spent = ", ".join(f"{name} {calls}" for name, calls in report.calls_for.items())
        lines.append(f"calls for {spent}")
    if report.estimate is not None and report.low is not None and report.high is not None:
        confidence = f" at {report.confidence * 100:g}%" if report.confidence else ""
        lines.append(
            f"answer {report.estimate:.6g} in [{report.low:.6g}, {report.high:.6g}]{confidence}, "
            f"guarantee {report.guarantee}" + ("" if report.target_met else ", target NOT met")
        )
    return lines


def explain_json(plan: Physical, report: QueryReport | None = None) -> dict[str, Any]:
    """Return the plan as JSON-ready dictionaries."""
    out: dict[str, Any] = {"plan": _node_json(plan)}
    if report is not None:
        out["measured"] = {
            "detector_calls": report.detector_calls,
            "pixel_calls": dict(report.pixel_calls),
            "frames_decoded": report.frames_decoded,
            "seconds": dict(report.seconds),
            "estimate": report.estimate,
            "low": report.low,
            "high": report.high,
            "confidence": report.confidence,
            "guarantee": report.guarantee,
            "target_met": report.target_met,
        }
    return out


def _node_json(node: Node) -> dict[str, Any]:
    out: dict[str, Any] = {"operator": type(node).__name__, "label": node.label()}
    pixels = getattr(node, "pixels", None)
    if isinstance(pixels, PixelOrder):
        out["first"] = [c.source for c in pixels.cheap]
        out["pixels"] = [
            {"predicate": s.source, "seconds": s.seconds, "passes": s.passes,
             "measured": s.measured}
            for s in pixels.steps
        ]  # fmt: skip
    choices = alternatives_of(node)
    if choices:
        out["alternatives"] = [
            {**{f.name: getattr(a, f.name) for f in fields(a)}, "total": a.total,
             "chosen": a.why.startswith("chosen") or len(choices) == 1}
            for a in choices
        ]  # fmt: skip
    children = [_node_json(child) for child in node.children()]
    if children:
        out["children"] = children
    return out
