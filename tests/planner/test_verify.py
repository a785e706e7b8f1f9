"""Each invariant of a logical plan, broken by hand, is reported with the rule and the node."""

from __future__ import annotations

from dataclasses import replace

import pytest

from foveal.errors import InternalError, Span
from foveal.planner.logical import (
    Aggregate,
    Conjunct,
    Detect,
    Filter,
    Fragment,
    FrameAggregate,
    Frames,
    GapLimit,
    Input,
    Logical,
    Project,
    Selection,
    Source,
    SystemTable,
    Tolerance,
    Track,
    Tracks,
)
from foveal.planner.rules import RULES, optimize
from foveal.planner.rules.push_filter import PushFilter
from foveal.planner.verify import verify

AT = Span(0, 1)


def predicate(column: str, *, pure: bool = True) -> Conjunct:
    return Conjunct(f"{column} = 1", "street", frozenset({column}), pure, AT, f"{column} = 1")


FRAMES = Frames("street", (predicate("frame"),))
OBJECTS = Detect(Frames("street"), "street")
TRACKED = Track(OBJECTS, "street")
SCAN = Project(OBJECTS, ("frame",))
COUNT = Aggregate("fcount", "count(*)", "*", "", "__a0", AT, "FCOUNT(*)")
COUNTED = FrameAggregate(
    Project(Detect(FRAMES, "street"), ("frame",)), FRAMES, (), "street", "objects", "",
    Source("{rows}", ()), (), (), (COUNT,), Tolerance(), AT,
)  # fmt: skip
TEXT = "SELECT * FROM __fv0"
WHOLE = Fragment(TEXT, (Input("__fv0", SCAN),), "select")
SPACED = GapLimit(WHOLE, 5, 0, 30.0, "frames")

SOUND: tuple[Logical, ...] = (
    WHOLE,
    SPACED,
    COUNTED,
    Fragment(TEXT, (Input("__fv0", SystemTable("videos")),), "select"),
    Fragment(TEXT, (Input("__fv0", Project(Tracks(TRACKED, "street"), ("frames",))),), "select"),
    Project(Filter(TRACKED, (predicate("trackid"),)), ("trackid",)),
    Detect(Filter(Frames("street"), (predicate("ts"),)), "street"),
    Selection(WHOLE, 0.05, None, 0.95),
    Selection(WHOLE, None, 0.05, 0.95),
)


@pytest.mark.parametrize("plan", SOUND, ids=lambda p: p.label())
def test_sound_plans_pass(plan: Logical) -> None:
    verify(plan, after="binding")


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (replace(WHOLE, text="SELECT 1"), "input __fv0 is not in the fragment's text"),
        (replace(WHOLE, inputs=WHOLE.inputs * 2), "two inputs share a name"),
        (replace(FRAMES, conjuncts=(predicate("class"),)), "reads an object's column"),
        (replace(FRAMES, conjuncts=(predicate("frame", pure=False),)), "or is not pure"),
        (Detect(TRACKED, "street"), "Detect needs the frames of its own table"),
        (Detect(Frames("yard"), "street"), "Detect needs the frames of its own table"),
        (Track(Detect(FRAMES, "street"), "street"), "Track needs every frame"),
        (Tracks(OBJECTS, "street"), "Tracks needs tracked objects"),
        (replace(COUNTED, rows=OBJECTS), "FrameAggregate needs projected rows and frames"),
        (replace(COUNTED, frames=SCAN), "FrameAggregate needs projected rows and frames"),
        (replace(COUNTED, aggregates=()), "FrameAggregate has no aggregate"),
        (replace(SPACED, limit=-1), "GapLimit has a negative number"),
        (replace(SPACED, offset=-1), "GapLimit has a negative number"),
        (replace(SPACED, gap=-0.5), "GapLimit has a negative number"),
        (Selection(WHOLE, None, None, 0.95), "Selection bounds nothing"),
        (Input("", SCAN), "an input has no name or holds another input"),
        (Input("a", Input("b", SCAN)), "an input has no name or holds another input"),
    ],
)
def test_a_broken_invariant_is_named(broken: Logical, problem: str) -> None:
    above = Project(broken, ("frame",)) if not isinstance(broken, Input) else broken
    with pytest.raises(InternalError) as caught:
        verify(above, after="a_rule")
    assert caught.value.message.startswith("after a_rule: ")
    assert problem in caught.value.message
    assert caught.value.detail == broken.label()
    assert caught.value.sqlstate == "XX000"


class DropFrames:
    """A wrong rule: it prunes frames below a tracker."""

    name = "drop_frames"

    def rewrite(self, node: Logical) -> Logical | None:
        if isinstance(node, Frames) and not node.conjuncts:
            return FRAMES
        return None


class Restless:
    """A rule that never comes to rest."""

    name = "restless"

    def rewrite(self, node: Logical) -> Logical | None:
        return replace(node, limit=node.limit + 1) if isinstance(node, GapLimit) else None


def test_checking_catches_a_wrong_rule() -> None:
    plan = Project(TRACKED, ("trackid",))
    with pytest.raises(InternalError, match="after drop_frames: Track needs every frame"):
        optimize(plan, (DropFrames(),), check=True)
    unchecked, trace = optimize(plan, (DropFrames(),))
    assert [name for name, _ in trace] == ["drop_frames"]
    assert unchecked != plan


def test_rules_that_do_not_rest_are_stopped() -> None:
    with pytest.raises(InternalError, match="do not come to rest") as caught:
        optimize(SPACED, (Restless(),))
    assert caught.value.detail == "restless"


def test_tracking_stays_where_a_predicate_reads_its_ids() -> None:
    plan = Project(Filter(TRACKED, (predicate("trackid"),)), ("frame",))
    assert optimize(plan, RULES, check=True) == (plan, ())


def test_a_predicate_on_objects_is_not_pushed() -> None:
    both = Filter(OBJECTS, (predicate("class"), predicate("frame")))
    pushed, trace = optimize(both, RULES, check=True)
    assert pushed == Filter(Detect(FRAMES, "street"), (predicate("class"),))
    assert [name for name, _ in trace] == ["push_filter", "push_filter"]
    assert PushFilter().rewrite(Filter(OBJECTS, (predicate("class"),))) is None


def test_a_predicate_already_on_the_frames_is_not_repeated() -> None:
    pushed, _ = optimize(Filter(FRAMES, FRAMES.conjuncts), RULES, check=True)
    assert pushed == FRAMES
