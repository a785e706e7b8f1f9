"""Windows of a stream under a budget: what a window's count is known to, and by which rule.

`python benches/streams.py [--quick] [--json]`. Counts per frame of three day-long cameras (with
FOVEAL_ASSETS; the detector is replayed, so every row says `trace`), or of the rendered street
without. Windows of ten seconds, each with a fixed number of detector calls.

- ours: uniform draws, the interval of a betting sequence aimed at the budget, the estimate
  interpolated in time between the frames looked at.
- mean: the same draws, their mean as the estimate.
- not aimed: the same draws, bets aimed at exactness.
- InQuest (Russo et al., VLDB 2023): strata are terciles of a proxy's scores, whose boundaries and
  Neyman allocations are smoothed over windows (0.8 of the new one); a tenth of the budget is a
  uniform pilot, a tenth is spread evenly. It has no interval for a window: the one given is the
  sum of the strata's betting intervals at delta / 3. Proxies are invented: noise added to counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import report
from hindsight import noisy_scores
from populations import TRACES, Array, trace

from foveal.planner.estimators import FrameGroup, MeanTarget, SamplingRun
from foveal.planner.estimators.targets import Frames
from foveal.planner.estimators.windows import aim, interpolated_mean

DELTA = 0.05
BUDGETS = (30, 60, 120)
SHARE = 0.1
"""Of the budget: InQuest's pilot, and its even part."""
NEW = 0.8
R2 = 0.5
"""Squared correlation of the invented proxy."""


@dataclass(slots=True)
class Outcome:
    """Errors and widths of one rule over windows."""

    errors: list[float] = field(default_factory=list[float])
    widths: list[float] = field(default_factory=list[float])
    calls: list[int] = field(default_factory=list[int])
    misses: int = 0

    def add(self, truth: float, estimate: float, low: float, high: float, calls: int) -> None:
        """Count one window."""
        self.errors.append(estimate - truth)
        self.widths.append(high - low)
        self.calls.append(calls)
        self.misses += not low - 1e-9 <= truth <= high + 1e-9

    @property
    def rmse(self) -> float:
        """Root of the mean squared error."""
        return float(np.sqrt(np.square(self.errors).mean()))

    @property
    def width(self) -> float:
        """Mean width of the interval."""
        return float(np.mean(self.widths))


def drawn(
    values: Array, calls: int, upper: float, epsilon: float, delta: float, seed: int
) -> tuple[Frames, float, float]:
    """Return the places looked at, ascending, and the interval."""
    frames = np.arange(values.shape[0], dtype=np.int64)
    group = FrameGroup(frames, (MeanTarget(upper, epsilon or None, integer=True),))
    run = SamplingRun([group], seed=seed, delta=delta, temporal=False)
    seen: list[Frames] = []
    while calls > 0 and (batch := run.next_batch(limit=calls)) is not None:
        run.add(batch, values[batch])
        seen.append(batch)
        calls -= batch.shape[0]
    (got,) = run.intervals()
    assert got.low is not None
    assert got.high is not None
    places = np.sort(np.concatenate(seen)) if seen else frames[:0]
    return places, got.low, got.high


class InQuest:
    """Stratified sampling of windows whose strata and allocations are learnt from the last ones."""

    def __init__(self, seed: int) -> None:
        """Know nothing yet."""
        self._rng = np.random.default_rng(seed)
        self._edges: Array | None = None
        self._looks = 0
        self._shares: Array = np.full(3, 1 / 3)

    def look(self, values: Array, scores: Array, calls: int, upper: float) -> tuple[float, ...]:
        """Return estimate, low, high and calls of a window."""
        self._looks += 1
        edges = np.quantile(scores, [1 / 3, 2 / 3])
        self._edges = edges if self._edges is None else NEW * edges + (1 - NEW) * self._edges
        stratum = np.digitize(scores, self._edges)
        weight: Array = np.bincount(stratum, minlength=3) / values.shape[0]
        even = (2 * SHARE) * weight  # the pilot and the even part are both uniform
        planned: Array = np.maximum(np.round(calls * (even + (1 - 2 * SHARE) * self._shares)), 2)
        estimate = low = high = 0.0
        spread, used = np.zeros(3), 0
        for k in range(3):
            members = np.flatnonzero(stratum == k)
            if not members.shape[0]:
                continue
            count = min(int(planned[k]), members.shape[0])
            mine = values[members]
            half = aim(members.shape[0], count, upper, DELTA / 3)
            _, lo, hi = drawn(mine, count, upper, half, DELTA / 3, 3 * self._looks + k)
            seen: Array = self._rng.choice(mine, count, replace=False)
            estimate += float(weight[k]) * float(seen.mean())
            low, high = low + float(weight[k]) * lo, high + float(weight[k]) * hi
            spread[k] = float(seen.std())
            used += count
        shares: Array = weight * spread + 1e-9
        self._shares = NEW * shares / shares.sum() + (1 - NEW) * self._shares
        return estimate, low, high, used


def measure(
    name: str, values: Array, upper: float, frames: int, windows: int, kind: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return RESULT rows and details of one camera."""
    rows: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    last = values.shape[0] - frames
    starts = [round(i * last / max(windows - 1, 1)) for i in range(windows)]
    scores = noisy_scores(values, R2)
    for budget in BUDGETS:
        ours, plain, exact, other = Outcome(), Outcome(), Outcome(), Outcome()
        inquest = InQuest(budget)
        for seed, start in enumerate(starts):
            part = values[start : start + frames]
            truth = float(part.mean())
            half = aim(frames, budget, upper, DELTA)
            places, low, high = drawn(part, budget, upper, half, DELTA, seed)
            near = interpolated_mean(places, part[places], frames)
            ours.add(truth, min(max(near, low), high), low, high, places.shape[0])
            plain.add(truth, float(part[places].mean()), low, high, places.shape[0])
            places, low, high = drawn(part, budget, upper, 0.0, DELTA, seed)
            exact.add(truth, float(part[places].mean()), low, high, places.shape[0])
            estimate, low, high, used = inquest.look(
                part, scores[start : start + frames], budget, upper
            )
            other.add(truth, estimate, low, high, int(used))
        case = f"{name}, {budget} calls for {frames} frames"
        peers = {"mean": plain, "not aimed": exact, f"InQuest, invented r2={R2:g}": other}
        details.append(
            {
                "case": case, "K": upper, "mean calls": float(np.mean(ours.calls)),
                "rmse": ours.rmse, "width": ours.width, "misses": f"{ours.misses}/{windows}",
                "rmse of mean": plain.rmse, "width not aimed": exact.width,
                "rmse of InQuest": other.rmse, "width of InQuest": other.width,
                "InQuest misses": f"{other.misses}/{windows}",
            }
        )  # fmt: skip
        spread = f"{np.percentile(ours.widths, 5):.2f}..{np.percentile(ours.widths, 95):.2f}"
        for peer, outcome in peers.items():
            for unit, mine, theirs in (
                ("root mean squared error", ours.rmse, outcome.rmse),
                ("mean interval width", ours.width, outcome.width),
            ):
                rows.append(
                    {
                        "case": f"{case} ({kind})", "peer": peer, "ours": round(mine, 4),
                        "theirs": round(theirs, 4), "ratio": round(theirs / max(mine, 1e-9), 3),
                        "spread": spread if "width" in unit else "", "unit": unit,
                    }
                )  # fmt: skip
    return rows, details


def rendered(seconds: float) -> Array:
    """Return the cars per frame of the rendered street, as its truth has them."""
    from foveal.connectors.video import scene

    with TemporaryDirectory() as folder:
        truth = scene.render(Path(folder) / "street.mp4", seed=7, seconds=seconds, fps=25)
    return scene.truth_counts(truth, "car").astype(np.float64)


def main() -> None:
    """Run the bench."""
    options = report.arguments(__doc__ or "")
    windows = 40 if options.quick else 200
    rows: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    for name, (_, upper) in TRACES.items():
        values = trace(name)
        if values is not None:
            found = measure(name, np.minimum(values, upper), upper, 300, windows, "trace")
            rows, details = rows + found[0], details + found[1]
    if not rows:
        seconds = 60.0 if options.quick else 300.0
        rows, details = measure(
            "street", rendered(seconds), 20.0, 250, int(seconds / 10), "rendered, trace"
        )
    report.report("streams", rows, details=details, quiet=options.json)


if __name__ == "__main__":
    main()
