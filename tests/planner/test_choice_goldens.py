"""Every case of tests/plans/choices/*.choice: which way a statement is run, and why not another.

A case is a situation (what is stored, how long the video is, how dear its detector), a statement,
the plan kinds that must be chosen and refused in it, and the whole EXPLAIN:

    # what the case shows
    situation=day
    SELECT ..
    chosen=temporal
    refused=proxy
    ----
    SampleAggregate ..

FOVEAL_REWRITE=1 writes what came out.
"""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from foveal.planner.bind import bind
from foveal.planner.explain import alternatives_of, explain_text
from foveal.planner.lower import lower, needs_facts
from foveal.planner.parse.parser import parse
from foveal.planner.parse.statement import Query
from foveal.planner.physical import Physical
from foveal.planner.protocols import (
    DetectorInfo,
    FrameFacts,
    Profile,
    ProxyFacts,
    Quantity,
    Snapshot,
    VideoFacts,
    VideoTable,
)
from foveal.planner.rules import RULES, optimize
from foveal.planner.tree import walk

FOLDER = Path(__file__).resolve().parents[1] / "plans" / "choices"
DETECTOR = DetectorInfo("pool", "heatmap", "k", ("car", "person", "bus"), 64, 96, confidence=0.4)
MEASURED = Profile(
    decode_frame=0.001, seek=0.03, detect_frame=0.04, thumbnail=0.0008, measured=True
)
CAR = Quantity(("class = 'car'",))
USEFUL = ProxyFacts(
    "cars", "street", CAR, "kernel", "p1", labels=400, positives=150, r2=0.9, r2_time=0.1,
    residual=0.3, deviation=1.0, train_seconds=1.0, score_frame=1e-4, scored=0, useful=True,
)  # fmt: skip
DROPPED = replace(USEFUL, useful=False, r2=0.05, why="it is no better than time")


def street(frames: int, cached: int = 0, thumbnails: int = 0, **more: object) -> VideoTable:
    """Return a table of one video at 10 frames per second, a keyframe every 5 seconds."""
    video = VideoFacts("a.mp4", frames, frames / 10, 640, 360, 50.0, cached, thumbnails)
    table = VideoTable("street", DETECTOR, 8, (video,), MEASURED)
    return replace(table, **more)  # pyright: ignore[reportArgumentType]


SITUATIONS: dict[str, tuple[VideoTable, dict[str, str]]] = {
    "clip": (street(800), {}),
    "clip, all cached": (street(800, 800), {}),
    "hour": (street(36_000), {}),
    "day": (street(864_000), {}),
    "day, dear detector": (
        street(864_000, profile=replace(MEASURED, detect_frame=0.4)), {},
    ),
    "hour, 400 labels, proxy": (street(36_000, 400, proxies=(USEFUL,)), {}),
    "hour, 400 labels, proxy, scored": (
        street(36_000, 400, 36_000, proxies=(replace(USEFUL, scored=36_000),)), {},
    ),
    "hour, 400 labels, proxy dropped": (street(36_000, 400, proxies=(DROPPED,)), {}),
    "hour, no guarantee": (street(36_000), {"guarantee": "none"}),
    "a few seconds, no guarantee": (street(150), {"guarantee": "none"}),
    "hour, fast detector, no guarantee": (
        street(36_000, profile=replace(MEASURED, detect_frame=0.0002)), {"guarantee": "none"},
    ),
    "hour, asymptotic": (street(36_000), {"guarantee": "asymptotic"}),
    "hour, exact only": (street(36_000), {"guarantee": "exact"}),
    "hour, fast detector": (street(36_000, profile=replace(MEASURED, detect_frame=0.002)), {}),
    "hour, linked": (street(36_000, tracker="linked", local_tracks=True), {}),
    "day, linked": (street(864_000, tracker="linked", local_tracks=True), {}),
    "day, linked, asymptotic": (
        street(864_000, tracker="linked", local_tracks=True), {"guarantee": "asymptotic"},
    ),
}  # fmt: skip


def plan(situation: str, sql: str) -> Physical:
    """Return the physical plan of a statement in a situation."""
    table, settings = SITUATIONS[situation]
    snapshot = Snapshot(video_tables={"street": table}, settings=settings)
    query = parse(sql, snapshot.names())
    assert isinstance(query, Query)
    logical, _ = optimize(bind(query, snapshot).plan, RULES, check=True)
    frames, cached = table.frames, sum(v.cached for v in table.videos)
    facts = FrameFacts(frames, cached, frames // 50)
    return lower(logical, snapshot, dict.fromkeys(needs_facts(logical), facts))


def kinds(physical: Physical) -> tuple[set[str], set[str]]:
    """Return the names of the alternatives that were chosen, and of those that do not apply."""
    found = [a for node in walk(physical) for a in alternatives_of(node)]
    chosen = {a.name for a in found if a.why.startswith("chosen")}
    return chosen, {a.name for a in found if not a.applies}


def read_cases(path: Path) -> list[tuple[str, dict[str, str], str, str]]:
    """Return (title, named values, statement, expected text) of each case."""
    found: list[tuple[str, dict[str, str], str, str]] = []
    for chunk in ("\n" + path.read_text(encoding="utf-8")).split("\n# ")[1:]:
        title, _, rest = chunk.partition("\n")
        head, _, text = rest.partition("\n----\n")
        lines = head.split("\n")
        named = dict(
            line.split("=", 1)
            for line in lines
            if line.split("=")[0] in ("situation", "chosen", "refused")
        )
        sql = "\n".join(li for li in lines if li.split("=")[0] not in named)
        found.append((title, named, sql, text.strip()))
    return found


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.choice")), ids=lambda p: p.stem)
def test_choices(path: Path) -> None:
    cases = read_cases(path)
    assert cases
    out: list[str] = []
    wrong: list[str] = []
    for title, named, sql, text in cases:
        physical = plan(named["situation"], sql)
        got = explain_text(physical)
        chosen, refused = kinds(physical)
        wanted = set(filter(None, named.get("chosen", "").split(",")))
        out_of = set(filter(None, named.get("refused", "").split(",")))
        if not wanted <= chosen or not out_of <= refused:
            wrong.append(f"{title}\n{sql}\nchosen {chosen}, refused {refused}\n{got}")
        elif got.strip() != text:
            wrong.append(f"{title}\n{sql}\nexpected:\n{text}\ngot:\n{got}")
        head = "\n".join([f"situation={named['situation']}", sql,
                          f"chosen={','.join(sorted(wanted))}",
                          f"refused={','.join(sorted(out_of))}"])  # fmt: skip
        out.append(f"# {title}\n{head}\n----\n{got}")
    if os.environ.get("FOVEAL_REWRITE"):
        path.write_text("\n\n".join(out) + "\n", encoding="utf-8")
        return
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize(
    "kind",
    [
        "exact",
        "cached",
        "sampling",
        "temporal",
        "proxy",
        "learn",
        "rewrite",
        "coarse to fine",
        "sampled tracks",
        "verify",
        "cascade",
        "thresholds",
    ],
)
def test_every_kind_is_chosen_somewhere_and_not_chosen_elsewhere(kind: str) -> None:
    cases = [case for path in sorted(FOLDER.glob("*.choice")) for case in read_cases(path)]
    chosen = [kinds(plan(named["situation"], sql))[0] for _, named, sql, _ in cases]
    assert any(kind in names for names in chosen)
    assert any(kind not in names for names in chosen)
