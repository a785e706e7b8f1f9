"""Detector calls of sampling against the naive plan, the CLT's rule and BlazeIt's published rule.

`python benches/sampling.py [--quick] [--json]`, with the day-long traces in FOVEAL_ASSETS. The
detector is replayed from a trace, so every row says so; what is counted are its calls, and what
is timed is the stopping rule's own arithmetic. Proxies are invented: noise added to the counts.
`floor` is what the best time predictor, chosen in hindsight, would need: where sampled frames are
`frames apart` by more than counts stay alike, it is the CLT's number, and time tells nothing.
`floor, valid` (at .05) is what the product's own rule needs when it is told that predictor
beforehand, `in turn` when it is told the counts' covariance and predicts from its own draws.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import report
from hindsight import floor_calls, noisy_scores, valid_calls
from peers import Stop, blazeit, central_limit, empirical_bernstein, stratified
from populations import TRACES, Array, trace

from foveal.planner.estimators import FrameGroup, MeanTarget, SamplingRun, forecast

DELTA = 0.05
DETECT = 0.036
"""Seconds of a detector call that the rule's own time is compared with (YOLOX-nano, one core)."""
PART = 36_000
PROXIES = (0.5, 0.8, 0.95)
"""Squared correlations of the invented proxies."""


class Tally:
    """Calls, errors and misses of one rule over several runs."""

    def __init__(self, truth: float) -> None:
        """Start with no run."""
        self.truth = truth
        self.calls: list[int] = []
        self.errors: list[float] = []
        self.misses = 0
        self.seconds = 0.0

    def add(self, stop: Stop) -> None:
        """Count one run."""
        self.calls.append(stop.samples)
        self.errors.append(stop.estimate - self.truth)
        self.misses += not stop.low - 1e-9 <= self.truth <= stop.high + 1e-9

    @property
    def mean(self) -> float:
        """Mean calls."""
        return float(np.mean(self.calls))


def sampled(
    values: Array,
    upper: float,
    epsilon: float,
    runs: int,
    *,
    temporal: bool,
    scores: Array | None = None,
) -> Tally:
    """Run the product's sampling, each time with another seed; `scores` are a proxy's."""
    frames = np.arange(values.shape[0], dtype=np.int64)
    group = FrameGroup(frames, (MeanTarget(upper, epsilon, integer=True),))
    tally = Tally(float(values.mean()))
    for seed in range(runs):
        run = SamplingRun([group], seed=seed, delta=DELTA, temporal=temporal)
        begun = time.process_time()
        if scores is not None:
            run.use_scores(frames, scores)
        while (batch := run.next_batch()) is not None:
            run.add(batch, values[batch])
        tally.seconds += time.process_time() - begun
        (got,) = run.intervals()
        assert got.estimate is not None
        assert got.low is not None
        assert got.high is not None
        tally.add(Stop(got.samples, got.estimate, got.low, got.high))
    return tally


def published(values: Array, longest: int, runs: int, rule: Callable[[Array], Stop]) -> Tally:
    """Run a published rule on the first `longest` draws of `runs` random orders."""
    tally = Tally(float(values.mean()))
    rng = np.random.default_rng(99)
    size = values.shape[0]
    for _ in range(runs):
        places = np.unique(rng.integers(0, size, 2 * longest)) if longest < size / 8 else None
        order = rng.permutation(size if places is None else places)[:longest]
        tally.add(rule(values[order]))
    return tally


def stratified_calls(values: Array, upper: float, epsilon: float) -> int:
    """Return the draws of the first pass of a doubling schedule that reaches epsilon.

    Look k spends delta / (k (k + 1)).
    """
    strata = 64
    for look in range(1, 24):
        if strata >= values.shape[0]:
            break
        _, half = stratified(values, strata, upper, DELTA / (look * (look + 1)), look)
        if half <= epsilon:
            return strata
        strata *= 2
    return values.shape[0]


def measure(
    name: str, values: Array, upper: float, epsilon: float, runs: int, *, peers: bool
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the RESULT rows and one detail row of a trace at one epsilon."""
    size = values.shape[0]
    sigma = float(values.std())
    ours = sampled(values, upper, epsilon, runs, temporal=True)
    plain = sampled(values, upper, epsilon, max(runs // 2, 2), temporal=False)
    n0 = (1.96 * sigma / epsilon) ** 2
    longest = min(size, int(4 * n0 / (1 + n0 / size)) + 400)
    clt = published(values, longest, 4 * runs,
                    lambda x: central_limit(x, size, epsilon, DELTA))  # fmt: skip

    proxied: dict[float, tuple[float, float]] = {}
    for r2 in PROXIES:
        scores = noisy_scores(values, r2)
        alone, both = (
            sampled(values, upper, epsilon, max(runs // 4, 2), temporal=temporal, scores=scores)
            for temporal in (False, True)
        )
        proxied[r2] = alone.mean, both.mean

    def foreseen(*, temporal: bool) -> float:
        return forecast(
            population=size, known=0, upper=upper, epsilon=epsilon, deviation=sigma,
            mean=float(values.mean()), delta=DELTA, temporal=temporal,
        ).calls  # fmt: skip

    before, in_turn = (
        valid_calls(values, upper, epsilon, DELTA) if epsilon == 0.05 else (None, None)
    )
    detail = {
        "case": f"{name} eps={epsilon:g}", "frames": size, "K": upper, "calls": ours.mean,
        "p95": float(np.percentile(ours.calls, 95)), "no time": plain.mean, "CLT": clt.mean,
        "floor": floor_calls(values, epsilon),
        "floor, valid": before, "floor, valid in turn": in_turn, "frames apart": size / ours.mean,
        **{f"proxy {r2:g}": alone for r2, (alone, _) in proxied.items()},
        **{f"proxy {r2:g}, time": both for r2, (_, both) in proxied.items()},
        "x CLT": ours.mean / clt.mean, "x CLT, no time": plain.mean / clt.mean,
        "misses": f"{ours.misses}/{runs}", "CLT misses": f"{clt.misses}/{4 * runs}",
        "mean error / eps": float(np.mean(ours.errors)) / epsilon,
        "rule, us a call": 1e6 * ours.seconds / sum(ours.calls),
        "rule / detector": ours.seconds / sum(ours.calls) / DETECT,
        "forecast / calls": foreseen(temporal=True) / ours.mean,
        "same, no time": foreseen(temporal=False) / plain.mean,
    }  # fmt: skip
    spread = f"{np.percentile(ours.calls, 5):.0f}..{np.percentile(ours.calls, 95):.0f}"

    def row(peer: str, theirs: float) -> dict[str, Any]:
        return {
            "case": f"{name} eps={epsilon:g} K={upper:g} (trace)", "peer": peer,
            "ours": round(ours.mean, 1), "theirs": round(theirs, 1),
            "ratio": round(theirs / ours.mean, 3), "spread": spread, "unit": "detector calls",
        }  # fmt: skip

    rows = [row("naive", size), row("CLT rule (invalid)", clt.mean)]
    for r2, (_, both) in proxied.items():
        with_proxy = row("without it", ours.mean)
        case = f"{name} eps={epsilon:g} K={upper:g}, invented proxy r2={r2:g} (trace)"
        with_proxy |= {"case": case, "ours": round(both, 1), "ratio": round(ours.mean / both, 3)}
        rows.append(with_proxy)
    if peers:
        few = max(runs // 4, 2)
        bound = min(size, int(24 * n0) + int(400 * upper / epsilon))
        other = published(values, bound, few,
                          lambda x: blazeit(x, size, upper, epsilon, DELTA))  # fmt: skip
        rows.append(row("BlazeIt's published rule", other.mean))
        bound = min(size, int(8 * n0) + int(100 * upper / epsilon))
        other = published(
            values, bound, few, lambda x: empirical_bernstein(x, size, upper, epsilon, DELTA)
        )
        rows.append(row("empirical Bernstein sequence", other.mean))
        rows.append(row("one per interval, changing means",
                        stratified_calls(values, upper, epsilon)))  # fmt: skip
    return rows, detail


def squares(details: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how calls without prediction grow as epsilon halves, without the finite-N gain."""
    found: list[dict[str, Any]] = []
    for name in dict.fromkeys(d["case"].split(" eps=")[0] for d in details):
        mine = [d for d in details if d["case"].startswith(f"{name} eps=")]
        for a, b in itertools.pairwise(mine):
            ea, eb = (float(d["case"].split("eps=")[1]) for d in (a, b))
            if ea > 0.1:
                continue
            endless = [d["no time"] / (1 - d["no time"] / d["frames"]) for d in (a, b)]
            found.append({
                "case": f"{name} eps {ea:g} to {eb:g}", "calls x": endless[1] / endless[0],
                "1/eps^2 x": (ea / eb) ** 2,
                "off by": endless[1] / endless[0] / (ea / eb) ** 2 - 1,
            })  # fmt: skip
    return found


def main() -> None:
    chosen = report.arguments(__doc__ or "")
    rows: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    epsilons = (0.2, 0.1, 0.05) if chosen.quick else (0.2, 0.1, 0.05, 0.02)
    for name, (_, upper) in TRACES.items():
        day = trace(name)
        if day is None:
            continue
        for label, values in ((f"{name} day", day), (f"{name} 20 min", day[200_000:][:PART])):
            for epsilon in epsilons:
                runs = {0.2: 40, 0.1: 40, 0.05: 20, 0.02: 8}[epsilon]
                runs = max(runs // 8, 2) if chosen.quick else runs
                more, detail = measure(label, values, upper, epsilon, runs, peers=True)
                rows += more
                details.append(detail)
    if not rows:
        raise SystemExit("set FOVEAL_ASSETS to a folder with the inquest traces")
    if not chosen.json:
        print("\n".join(report.table(squares(details))), end="\n\n")
    report.report("sampling", rows, details=details, quiet=chosen.json)


if __name__ == "__main__":
    main()
