"""Specialised models of a table: trained from stored detections, scored once, kept with lineage."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from foveal.engine.catalog.videos import LiveTable
from foveal.engine.context import QueryContext
from foveal.engine.executor import Runtime
from foveal.engine.inference import ensure
from foveal.engine.proxies import (
    labels,
    scores,
    should_train,
    spread,
    spread_draw,
    stored,
    train,
    try_train,
)
from foveal.engine.session import Session
from foveal.errors import FovealError, OperationalError, QueryCanceled
from foveal.planner.protocols import Quantity
from foveal.settings import defaults

OpenToy = Callable[..., Session]
ALL = Quantity()
CARS = Quantity(("class = 'car'",))


def live(session: Session) -> LiveTable:
    session._refresh()  # pyright: ignore[reportPrivateUsage]
    return session._tables.table("street")  # pyright: ignore[reportPrivateUsage]


def runtime(session: Session) -> Runtime:
    tables = {"street": live(session)}
    context = QueryContext(defaults())
    return session._runtime(context, tables)  # pyright: ignore[reportPrivateUsage]


def detected(session: Session, positions: np.ndarray) -> Runtime:
    work = runtime(session)
    ensure(live(session), positions, work.context)
    return runtime(session)


def test_labels_are_the_quantity_at_stored_frames(open_toy: OpenToy) -> None:
    session = open_toy()
    rows = session.execute(
        "SELECT video, frame, count(*) AS n, count(*) FILTER (WHERE class = 'car') AS cars, "
        "sum(xmax - xmin) AS wide FROM street GROUP BY ALL"
    ).fetchall()
    table, work = live(session), runtime(session)
    every = np.arange(table.frames)
    numbers = {v.name: int(s) for v, s in zip(table.videos, table.starts, strict=False)}
    truth = np.zeros((3, table.frames))
    for video, frame, n, cars, wide in rows:
        truth[:, numbers[str(video)] + int(str(frame))] = n, cars, wide
    np.testing.assert_array_equal(labels(table, ALL, every, work), np.minimum(truth[0], 6))
    np.testing.assert_array_equal(labels(table, CARS, every, work), truth[1])
    np.testing.assert_allclose(
        labels(table, Quantity((), "xmax - xmin"), every, work), truth[2], rtol=1e-6
    )
    some = np.array([3, 77, 91, 189])
    np.testing.assert_array_equal(labels(table, CARS, some, work), truth[1][some])
    with pytest.raises(FovealError):
        labels(table, Quantity(("nothing > 3",)), every, work)


def test_train_score_and_reuse_without_decoding(open_toy: OpenToy, tmp_path: Path) -> None:
    session = open_toy(tmp_path / "t.db")
    table = live(session)
    work = detected(session, np.arange(0, table.frames, 2))
    assert stored(table) == ()
    assert should_train(table, ALL, None)
    facts = train(table, ALL, work, families=["ridge"])
    assert (facts.family, facts.labels, facts.scored) == ("ridge", 95, 0)
    assert facts.quantity == ALL
    assert facts.positives > 40
    assert facts.r2 > 0.3
    work.context.settle()
    assert work.context.report.seconds["train"] > 0
    assert work.context.report.seconds["proxy"] == 0
    every = np.arange(table.frames)
    found = scores(table, facts, every, work)
    work.context.settle()
    assert work.context.report.seconds["proxy"] > 0
    np.testing.assert_array_equal(np.flatnonzero(found.labelled), np.arange(0, table.frames, 2))
    (known,) = stored(table)
    assert known.scored == table.frames
    assert table.facts().proxies == (known,)
    session.close()
    again = open_toy(tmp_path / "t.db", create=False)
    table, work = live(again), runtime(again)
    (known,) = stored(table)
    reused = scores(table, known, every[10:150], work)
    assert work.context.counters.frames_decoded == 0
    assert reused.values.tobytes() == found.values[10:150].tobytes()
    assert reused.labelled.tobytes() == found.labelled[10:150].tobytes()
    assert reused.at_least(2).tobytes() == found.at_least(2)[10:150].tobytes()
    assert work.context.report.detector_calls == 0


def test_the_same_labels_give_the_stored_model(open_toy: OpenToy) -> None:
    session = open_toy()
    table = live(session)
    work = detected(session, np.arange(0, 190, 3))
    first = train(table, ALL, work, families=["ridge"])
    assert train(table, ALL, runtime(session), families=["ridge"]) == first
    assert not should_train(table, ALL, first)
    work = detected(session, np.arange(190))
    assert should_train(table, ALL, first)
    scores(table, first, np.arange(50), work)
    second = train(table, ALL, work, families=["ridge"])
    assert (second.name, second.labels) == (first.name, 190)
    assert second.key != first.key
    assert stored(table) == (second,)
    with pytest.raises(OperationalError, match="has no model"):
        scores(table, first, np.arange(50), work)
    assert not table.storage.artifacts.keys("proxy_scores")


def test_one_name_for_one_quantity(open_toy: OpenToy) -> None:
    session = open_toy()
    table = live(session)
    work = detected(session, np.arange(190))
    names = {train(table, q, work, families=["ridge"]).name for q in (ALL, CARS)}
    assert len(names) == 2
    assert all(name.startswith("auto_street_count") for name in names)
    assert {f.quantity for f in stored(table)} == {ALL, CARS}


def test_what_cannot_be_learnt_is_kept_as_that(open_toy: OpenToy) -> None:
    session = open_toy()
    table = live(session)
    work = detected(session, np.arange(0, 190, 10))
    facts = train(table, ALL, work)
    assert not facts.useful
    assert facts.why == "19 labels are too few: 50 are needed"
    assert stored(table) == (facts,)
    with pytest.raises(OperationalError) as caught:
        scores(table, facts, np.arange(10), work)
    assert caught.value.sqlstate == "55000"


def test_a_cancelled_scoring_keeps_what_it_saw(
    open_toy: OpenToy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from foveal.engine import proxies

    session = open_toy()
    table = live(session)
    work = detected(session, np.arange(0, 190, 2))
    facts = train(table, ALL, work, families=["ridge"])
    monkeypatch.setattr(proxies, "SCORE_CHUNK", 64)

    class Stopping(QueryContext):
        def advance(self, stage: str, done: int, total: int | None) -> None:
            if stage == "score" and done >= 64:
                self.cancelled.set()

    work.context = Stopping(defaults())
    with pytest.raises(QueryCanceled):
        scores(table, facts, np.arange(190), work)
    assert stored(table)[0].scored == 64
    whole = scores(table, facts, np.arange(190), runtime(session))
    assert stored(table)[0].scored == 190
    assert not np.isnan(whole.values).any()


def test_a_model_outlives_its_table_and_follows_its_videos(open_toy: OpenToy) -> None:
    session = open_toy()
    table = live(session)
    work = detected(session, np.arange(190))
    facts = train(table, ALL, work, families=["ridge"])
    whole = scores(table, facts, np.arange(190), work)
    statement = next(iter(session._definitions.videos.values()))  # pyright: ignore[reportPrivateUsage]
    second = statement.videos[1]
    session.execute("DROP VIDEO TABLE street")
    listed = ", ".join(f"{k} = '{v}'" if isinstance(v, str) else f"{k} = {v}"
                       for k, v in statement.options.items())  # fmt: skip
    session.execute(f"CREATE VIDEO TABLE street FROM '{second.path}' WITH ({listed}, max_count=6)")
    table, work = live(session), runtime(session)
    (known,) = stored(table)
    assert (known.key, known.scored) == (facts.key, 60)
    part = scores(table, known, np.arange(60), work)
    assert work.context.counters.frames_decoded == 0
    assert part.labelled.all()
    assert part.values.tobytes() == whole.values[90:150].tobytes()
    session.execute("DROP VIDEO TABLE street")
    session.execute(
        f"CREATE VIDEO TABLE street FROM '{second.path}' WITH ({listed}, confidence=.9)"
    )
    assert stored(live(session)) == ()  # another detector: another thing was learnt


def test_frames_to_learn_from_are_spread(open_toy: OpenToy) -> None:
    dense = np.concatenate([np.arange(500), np.arange(500, 10_000, 100)])
    chosen = spread(dense, 10_000, 100)
    assert len(chosen) == 100
    assert (np.diff(chosen) > 0).all()
    assert (chosen >= 500).sum() == 95
    session = open_toy()
    table = live(session)
    detected(session, np.array([7, 100]))
    drawn = spread_draw(table, 19, seed=4)
    assert len(drawn) == 19
    np.testing.assert_array_equal(drawn // 10, np.arange(19))
    assert {7, 100} <= set(drawn.tolist())
    np.testing.assert_array_equal(drawn, spread_draw(table, 19, seed=4))
    assert len(spread_draw(table, 500, seed=4)) == 190


def test_a_second_quantity_on_kept_embeddings_needs_no_picture(
    open_toy: OpenToy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from foveal.engine import proxies

    session = open_toy()
    table = live(session)
    work = detected(session, np.arange(0, 190, 2))
    every = np.arange(190)
    first = train(table, ALL, work, families=["embedding"])
    scores(table, first, every, work)
    second = train(table, CARS, work, families=["embedding"])
    monkeypatch.setattr(proxies, "thumbnails_at", None)
    found = scores(table, second, every, runtime(session))
    assert np.corrcoef(found.values, labels(table, CARS, every, work))[0, 1] > 0.5


def test_pieces_of_rows_are_joined(open_toy: OpenToy) -> None:
    kept = live(open_toy()).storage.proxies.features
    rng = np.random.default_rng(2)
    truth = rng.standard_normal((400, 3)).astype(np.float16)
    for start in rng.permutation(40).tolist():
        frames = np.arange(10 * int(start), 10 * int(start) + 10)
        kept.add("k", "v", frames, truth[frames])
    assert kept.counts() == {("k", "v"): 400}
    assert len(kept._places("k", "v")) <= 17  # pyright: ignore[reportPrivateUsage]
    asked = np.array([0, 3, 77, 399, 400, 999])
    known, rows = kept.read("k", "v", asked)
    assert known.tolist() == [True, True, True, True, False, False]
    np.testing.assert_array_equal(rows[:4], truth[asked[:4]])
    kept.drop("k")
    assert kept.read("k", "v", asked)[1].shape == (6, 0)


def test_the_small_detector_is_a_look_of_its_own(open_toy: OpenToy) -> None:
    session = open_toy()
    table = live(session)
    work = detected(session, np.arange(0, 190, 2))
    facts = train(table, ALL, work, families=["small_detector"], seconds=60)
    assert facts.family == "small_detector"
    assert facts.r2 > 0.3
    assert work.context.report.detector_calls == 0  # the table's detector was not asked
    work = runtime(session)
    found = scores(table, facts, np.arange(190), work)
    assert work.context.counters.frames_decoded > 0
    truth = detected(session, np.arange(190))
    values = labels(table, ALL, np.arange(190), truth)
    assert np.corrcoef(found.values, values)[0, 1] ** 2 > 0.3
    again = runtime(session)
    assert scores(table, facts, np.arange(190), again).values.tobytes() == found.values.tobytes()
    assert again.context.counters.frames_decoded == 0


def test_a_failure_to_train_by_itself_is_a_notice(open_toy: OpenToy) -> None:
    session = open_toy()
    table = live(session)
    work = detected(session, np.arange(0, 190, 2))
    assert try_train(table, Quantity(("nothing > 3",)), work) is None
    (notice,) = work.context.report.notices
    assert notice.severity == "WARNING"
    assert notice.message.startswith("no proxy was trained for COUNT(nothing > 3): ")
    work.context.cancelled.set()
    with pytest.raises(QueryCanceled):
        try_train(table, ALL, work)
