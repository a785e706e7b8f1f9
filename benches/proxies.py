"""What each family of specialised models learns on the fixed-camera clips, near and far.

`python benches/proxies.py [--quick] [--json]`, with the clips and yolox_nano in FOVEAL_ASSETS.
Every frame is detected once; then each family learns from the same drawn frames. `near` is the
squared correlation with the detector on all other frames of the clip, `far` that on folds two
seconds and more away from any label. Interpolating the labels in time, which needs no pixels, is in
the table.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import report

from foveal.engine.catalog.videos import LiveTable
from foveal.engine.context import QueryContext
from foveal.engine.executor import Runtime
from foveal.engine.inference import ensure
from foveal.engine.proxies import labels
from foveal.engine.session import Session
from foveal.engine.thumbnails import ensure_thumbnails, thumbnails_at
from foveal.planner.protocols import Quantity
from foveal.settings import defaults
from foveal.udfs.models.proxies import FAMILIES, LAST_RESORTS
from foveal.udfs.models.proxies.family import Problem
from foveal.udfs.models.proxies.fitting import squared_correlation
from foveal.udfs.models.proxies.folds import gap_folds, gap_of, nearness
from foveal.udfs.models.proxies.scene import Scene

CLIPS: Mapping[str, str] = {
    "one-by-one-person-detection.mp4": "person",
    "vtest.avi": "person",
    "bangkok_half_res.mp4": "car",
}
SKIPPED = ("mean", *LAST_RESORTS)


def clip_path(name: str) -> Path | None:
    """Return where a clip of FOVEAL_ASSETS is."""
    for root in os.environ.get("FOVEAL_ASSETS", "").split(os.pathsep):
        found = sorted(Path(root).rglob(name)) if root else []
        if found:
            return found[0]
    return None


def opened(session: Session, path: Path) -> LiveTable:
    """Return a table over one clip, all frames detected and their thumbnails kept."""
    session.execute(
        f"CREATE OR REPLACE VIDEO TABLE clip FROM '{path}' WITH (detector = 'yolox_nano')"
    )
    session._refresh()  # pyright: ignore[reportPrivateUsage]
    table = session._tables.table("clip")  # pyright: ignore[reportPrivateUsage]
    context, every = QueryContext(defaults()), np.arange(table.frames)
    ensure(table, every, context)
    ensure_thumbnails(table, every, context)
    return table


def problem_of(table: LiveTable, values: npt.NDArray[np.float64], count: int, seed: int) -> Problem:
    """Return the problem of `count` drawn frames."""
    times = table.videos[0].index.ts
    drawn = np.random.default_rng(seed).choice(table.frames, count, replace=False)
    labelled = np.sort(drawn).astype(np.int64)
    gap = gap_of(times, table.starts)
    scene = Scene(lambda p: thumbnails_at(table, p), times, table.starts, lambda: None)
    scene.keep(labelled)
    folds = gap_folds(times[labelled], scene.videos(labelled), gap)
    near = nearness(labelled, times, table.starts, gap)
    return Problem(scene, labelled, values[labelled], tuple(folds), near, gap, seed)


def measured(
    table: LiveTable, values: npt.NDArray[np.float64], family: str, count: int, seeds: int
) -> dict[str, float]:
    """Return a family's figures, each the mean over draws."""
    found: list[tuple[float, float, float, float]] = []
    for seed in range(seeds):
        problem = problem_of(table, values, count, seed)
        begin = time.process_time()
        trained = FAMILIES[family].fit(problem)
        training = time.process_time() - begin
        rest = np.setdiff1d(np.arange(table.frames), problem.labelled)
        begin = time.process_time()
        scores = trained.model.predict(problem.scene, rest)
        scoring = (time.process_time() - begin) / len(rest)
        found.append(
            (
                squared_correlation(scores, values[rest]),
                squared_correlation(trained.far, problem.values),
                training,
                scoring * 1e3,
            )
        )
    names = ("near", "far", "train s", "ms/frame")
    means = [float(x) for x in np.mean(found, axis=0)]
    return dict(zip(names, means, strict=True))


def main() -> None:
    """Measure and report."""
    given = report.arguments(__doc__ or "")
    counts, seeds = ((150,), 1) if given.quick else ((80, 150, 300), 3)
    rows: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in CLIPS.items():
            path = clip_path(name)
            if path is None or (given.quick and details):
                continue
            session = Session(Path(folder) / f"{path.stem}.db", settings={"threads": 1})
            table = opened(session, path)
            runtime: Runtime = session._runtime(  # pyright: ignore[reportPrivateUsage]
                QueryContext(defaults()), {"clip": table}
            )
            quantity = Quantity((f"class = '{kind}'",))
            values = labels(table, quantity, np.arange(table.frames), runtime)
            for count in counts:
                best: dict[str, float] = {}
                for family, made in FAMILIES.items():
                    if family in SKIPPED or count < made.least_labels:
                        continue
                    draws = 1 if family == "cnn" else seeds
                    figures = measured(table, values, family, count, draws)
                    details.append({"clip": name, "labels": count, "family": family, **figures})
                    best[family] = figures["near"]
                ours = max(v for k, v in best.items() if k != "interpolation")
                theirs = best["interpolation"]
                rows.append(
                    {
                        "case": f"{path.stem} {count} labels", "peer": "interpolation in time",
                        "ours": round(ours, 3), "theirs": round(theirs, 3),
                        "ratio": round(ours / max(theirs, 1e-9), 3), "spread": None,
                        "unit": "r2 near",
                    }
                )  # fmt: skip
            session.close()
    if not rows:
        raise SystemExit("FOVEAL_ASSETS names no folder with the clips")
    report.report("proxies", rows, details=details, quiet=given.json)


if __name__ == "__main__":
    main()
