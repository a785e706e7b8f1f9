"""Every case of tests/plans/*.plan: which rules change a statement's plan, and into what.

The format of a `.plan` file, a list of cases:

    # what the case shows
    SELECT ..                           its statement
    expect=prune_track,push_filter      rules that must fire (may be empty)
    expect-not=push_filter              rules that must not (optional)
    ----
    -- bound plan                       the plan before any rule, then after each rule that fired
    ..

Binding and rules are pure, so a snapshot made by hand stands for a database. After every rule the
plan's invariants are checked, and with no rule at all the plan must be sound too. FOVEAL_REWRITE=1
writes what came out.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from foveal.planner.bind import bind
from foveal.planner.lower import lower, needs_facts
from foveal.planner.parse.parser import parse
from foveal.planner.parse.statement import Query
from foveal.planner.protocols import (
    DetectorInfo,
    FrameFacts,
    Profile,
    Snapshot,
    VideoFacts,
    VideoTable,
)
from foveal.planner.rules import RULES, optimize
from foveal.planner.tree import render
from foveal.planner.verify import verify

FOLDER = Path(__file__).resolve().parents[1] / "plans"

DETECTOR = DetectorInfo("pool", "heatmap", "k", ("car", "person", "bus"), 64, 96, confidence=0.4)
STREET = VideoTable(
    "street",
    DETECTOR,
    20,
    (
        VideoFacts("a.mp4", 900, 90.0, 96, 64, 12.0, 0),
        VideoFacts("b.mp4", 600, 60.0, 96, 64, 12.0, 0),
    ),
    Profile(decode_frame=0.001, seek=0.006, detect_frame=0.04),
)
SNAPSHOT = Snapshot(
    video_tables={"street": STREET},
    columns={"cams": ("video", "place", "zone")},
    system_tables={"videos": ("table_name", "video")},
    parameters={"1": "car", "2": 5},
)
FACTS = FrameFacts(frames=1500, cached=0, keyframes=125)


@dataclass(frozen=True)
class Case:
    """`expect` and `forbid` are rule names."""

    title: str
    sql: str
    expect: tuple[str, ...]
    forbid: tuple[str, ...]
    stages: str


def read_cases(path: Path) -> list[Case]:
    found: list[Case] = []
    for chunk in ("\n" + path.read_text(encoding="utf-8")).split("\n# ")[1:]:
        title, _, rest = chunk.partition("\n")
        head, _, stages = rest.partition("\n----\n")
        lines = head.split("\n")
        named = {
            key: tuple(filter(None, value.split(",")))
            for key, _, value in (x.partition("=") for x in lines if x.startswith("expect"))
        }
        sql = "\n".join(x for x in lines if not x.startswith("expect"))
        found.append(
            Case(title, sql, named.get("expect", ()), named.get("expect-not", ()), stages.strip())
        )
    return found


def planned(sql: str) -> tuple[str, set[str]]:
    """Return the stages as text and the names of the rules that fired."""
    query = parse(sql, SNAPSHOT.names())
    assert isinstance(query, Query)
    bound = bind(query, SNAPSHOT).plan
    verify(bound, after="binding")
    best, trace = optimize(bound, RULES, check=True)
    for plan in (bound, best):
        lower(plan, SNAPSHOT, dict.fromkeys(needs_facts(plan), FACTS))
    stages = [("bound plan", bound), *((f"after {name}", plan) for name, plan in trace)]
    text = "\n".join(f"-- {name}\n{render(plan)}" for name, plan in stages)
    return text, {name for name, _ in trace}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.plan")), ids=lambda p: p.stem)
def test_plans(path: Path) -> None:
    cases = read_cases(path)
    assert cases
    out: list[str] = []
    wrong: list[str] = []
    for case in cases:
        text, fired = planned(case.sql)
        missing, forbidden = set(case.expect) - fired, set(case.forbid) & fired
        if missing or forbidden:
            wrong.append(f"{case.title}\n{case.sql}\nmissing {missing}, forbidden {forbidden}")
        elif text != case.stages:
            wrong.append(f"{case.title}\n{case.sql}\nexpected:\n{case.stages}\ngot:\n{text}")
        head = f"# {case.title}\n{case.sql}\nexpect={','.join(case.expect)}"
        head += f"\nexpect-not={','.join(case.forbid)}" if case.forbid else ""
        out.append(f"{head}\n----\n{text}")
    if os.environ.get("FOVEAL_REWRITE"):
        path.write_text("\n\n".join(out) + "\n", encoding="utf-8")
        return
    assert not wrong, "\n\n".join(wrong)


def test_same_input_same_plan() -> None:
    sql = "SELECT video, FCOUNT(*) FROM street WHERE frame < 9 GROUP BY video ERROR WITHIN 0.1"
    assert planned(sql) == planned(sql)
