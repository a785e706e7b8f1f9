"""Labels of some frames in, the specialised model that will serve the other frames best out.

Families are tried from cheap to dear and judged on labels that they did not see, left out the way
the unlabelled frames lie to the labels. Ties go to the cheaper one. None is useful that does not
beat both the labels' mean and their interpolation in time, which needs no pixels.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foveal.errors import DataError, NotSupportedError, ProgrammingError, did_you_mean
from foveal.planner.protocols import CancelCheck
from foveal.udfs.models.proxies.family import Family, Model, Problem, Trained
from foveal.udfs.models.proxies.fitted import Fitted, Trial
from foveal.udfs.models.proxies.folds import gap_folds, gap_of, nearness
from foveal.udfs.models.proxies.scene import Doubles, Extras, Keeper, Positions, Scene, Thumbnails

LEAST_LABELS = 50
LEAST_POSITIVES = 5
"""Labels that must differ from the commonest value."""
LEAST_R2 = 0.1
"""Share of the variance that a useful model explains on the frames it is for."""
LEAST_FAR_R2 = 0.2
"""The same on folds with gaps, where most frames lie far from a label: scenes change."""
DOUBT = 1.0
"""Standard errors by which a useful model's squared error must be below a baseline's."""
LAST_RESORT_ERROR = 0.5
"""Share of the variance that the others must leave unexplained before a last resort is tried."""
WORTH = 0.01
"""Share of the variance that the next dearer family must explain more."""
SECONDS = 10.0
RUNAWAY = 4.0
"""Times its seconds after which trying ends, whatever the plan was."""


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    family: Family
    trained: Trained
    trial: Trial
    loss: Doubles


def fit(
    thumbnails: Thumbnails,
    times: Doubles,
    labelled: Positions,
    values: Doubles,
    breaks: Positions,
    *,
    seed: int,
    seconds: float = SECONDS,
    families: Sequence[str] | None = None,
    counts: bool = True,
    keeper: Keeper | None = None,
    extras: Extras | None = None,
    cancel: CancelCheck,
) -> Fitted:
    """Fit families on `values` float64 [n] of the frames at sorted unique `labelled` int64 [n].

    `times` float64 [frames]: each frame's seconds within its video. `breaks` int64 [videos + 1]:
    each video's first position, then the number of frames. `families`: the names to try
    instead of those that pay, however little they gain. `seconds` bounds the fitting by what
    families are known to take, so that the choice does not depend on the machine's load; reading
    pictures is not in it. `counts`: values are whole numbers. `keeper` keeps embeddings,
    `extras` gives the features of the families that do not look at thumbnails.

    Raises:
        ProgrammingError: 42704, there is no such family.
        QueryCanceled: 57014.
    """
    chosen = _families(families)
    commonest = _commonest(values)
    positives = int((values != commonest).sum())
    deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0

    def nothing(why: str) -> Fitted:
        mean = float(values.mean()) if len(values) else 0.0
        return Fitted(
            "mean", None, labelled, values, np.full(len(values), mean),
            positives=positives, deviation=deviation, residual=deviation, why=why, seed=seed,
            counts=counts,
        )  # fmt: skip

    if len(values) < LEAST_LABELS:
        return nothing(f"{len(values)} labels are too few: {LEAST_LABELS} are needed")
    if positives < LEAST_POSITIVES:
        return nothing(
            f"the value is {commonest:g} in all but {positives} of {len(values)} labels; "
            f"{LEAST_POSITIVES} others are needed"
        )
    begin = time.perf_counter()
    scene = Scene(thumbnails, times, breaks, cancel, keeper, extras)
    scene.keep(labelled)
    reading = time.perf_counter() - begin
    gap = gap_of(times, breaks)
    problem = Problem(
        scene, labelled, values,
        tuple(gap_folds(times[labelled], scene.videos(labelled), gap)),
        nearness(labelled, times, breaks, gap), gap, seed,
    )  # fmt: skip
    judged, left = _try(problem, chosen, seconds, explicit=families is not None)
    took = time.perf_counter() - begin - reading
    return _settled(problem, judged, left, took, positives, counts=counts)


def _families(names: Sequence[str] | None) -> list[Family]:
    from foveal.udfs.models.proxies import BASELINES, FAMILIES

    for name in names or ():
        if name not in FAMILIES or name in BASELINES:
            known = [n for n in FAMILIES if n not in BASELINES]
            raise ProgrammingError(
                f'there is no family of proxies called "{name}"',
                sqlstate="42704",
                hint=did_you_mean(name, known) or "there are " + ", ".join(known),
            )
    wanted = [n for n in FAMILIES if n in BASELINES or names is None or n in names]
    return [FAMILIES[name] for name in wanted]


def _try(
    problem: Problem, families: list[Family], seconds: float, *, explicit: bool
) -> tuple[list[_Judged], list[str]]:
    """Return what was fitted, and why the others were not."""
    from foveal.udfs.models.proxies import BASELINES, LAST_RESORTS

    variance = max(float(problem.values.var()), 1e-12)
    begin, planned = time.perf_counter(), 0.0
    judged: list[_Judged] = []
    left: list[str] = []
    best = np.inf
    idle = 0
    for family in families:
        problem.scene.cancel()
        expected = family.seconds(len(problem.values))
        if family.name not in BASELINES:
            if len(problem.values) < family.least_labels:
                left.append(f"{family.name} needs {family.least_labels} labels")
                continue
            if planned + expected > seconds or time.perf_counter() - begin > RUNAWAY * seconds:
                left.append(f"{family.name} takes about {expected:.1f} s")
                continue
            last_resort = family.name in LAST_RESORTS
            if last_resort and family.name not in problem.scene.extras:
                left.append(f"{family.name} is not offered here")
                continue
            if last_resort and not explicit and best < LAST_RESORT_ERROR * variance:
                left.append(f"{family.name} is a last resort")
                continue
            if idle >= 2 and not explicit and not last_resort:
                left.append(f"{family.name} promises no gain")
                continue
        planned += expected
        since = time.perf_counter()
        try:
            trained = family.fit(problem)
        except (DataError, NotSupportedError) as error:
            if explicit or family.name not in LAST_RESORTS:
                raise
            left.append(f"{family.name}: {error.message}")  # it depends on what the caller has
            continue
        loss = problem.loss(problem.values - trained.near, problem.values - trained.far)
        error = float(loss.mean())
        judged.append(
            _Judged(
                family,
                trained,
                Trial(
                    family.name,
                    squared_correlation(trained.far, problem.values),
                    squared_correlation(trained.near, problem.values, problem.near.weights),
                    error,
                    time.perf_counter() - since,
                ),
                loss,
            )
        )
        if family.name not in BASELINES:
            idle = 0 if error < best - WORTH * variance else idle + 1
            best = min(best, error)
    return judged, left


def _settled(
    problem: Problem,
    judged: list[_Judged],
    left: list[str],
    took: float,
    positives: int,
    *,
    counts: bool,
) -> Fitted:
    """Return the cheapest of the best, calibrated, and whether it is of use."""
    from foveal.udfs.models.proxies import BASELINES

    values = problem.values
    baselines = [j for j in judged if j.family.name in BASELINES]
    models = [j for j in judged if j.family.name not in BASELINES]
    trials = tuple(j.trial for j in judged)
    interpolation = next(j for j in baselines if j.family.name == "interpolation")
    if not models:
        return Fitted(
            "mean", None, problem.labelled, values, np.full(len(values), values.mean()),
            r2_time=interpolation.trial.r2, r2_time_near=interpolation.trial.r2_near,
            near_share=problem.near.share, deviation=float(values.std(ddof=1)),
            residual=float(values.std(ddof=1)), positives=positives, seconds=took,
            why="no family could be tried: " + "; ".join(left), trials=trials,
            seed=problem.seed, counts=counts,
        )  # fmt: skip
    least = min(j.trial.error for j in models)
    slack = WORTH * float(values.var())
    pick = next(j for j in models if j.trial.error <= least + slack)
    share = problem.near.share
    slope, intercept = _calibration(pick.trained, problem)
    near = slope * pick.trained.near + intercept
    far = slope * pick.trained.far + intercept
    scores = near if share >= 0.5 else far
    useful, why = _verdict(pick, baselines, problem)
    return Fitted(
        pick.family.name, pick.trained.model, problem.labelled, values, scores, slope, intercept,
        r2=pick.trial.r2, r2_near=pick.trial.r2_near, r2_time=interpolation.trial.r2,
        r2_time_near=interpolation.trial.r2_near, near_share=share,
        residual=float((values - far).std(ddof=1)), deviation=float(values.std(ddof=1)),
        positives=positives, seconds=took, score_frame=_speed(pick.trained.model, problem),
        useful=useful, why=why,
        trials=trials, seed=problem.seed, counts=counts,
    )  # fmt: skip


def _verdict(pick: _Judged, baselines: list[_Judged], problem: Problem) -> tuple[bool, str]:
    """Return whether a model is of use on the unlabelled frames, and why."""
    variance = max(float(problem.values.var()), 1e-12)
    explained = 1 - pick.trial.error / variance
    n = len(problem.values)
    for baseline in baselines:
        gain = baseline.loss - pick.loss
        if float(gain.mean()) <= DOUBT * float(gain.std(ddof=1)) / n**0.5:
            than = (
                "the mean of the labels"
                if baseline.family.name == "mean"
                else "interpolating the labels in time, which needs no pixels"
            )
            return False, (
                f"{pick.family.name} is no better than {than} (squared error "
                f"{pick.trial.error:.3g} against {baseline.trial.error:.3g})"
            )
    if problem.near.share < 0.5 and pick.trial.r2 < LEAST_FAR_R2:
        return (
            False,
            f"away from its labels {pick.family.name} explains {pick.trial.r2:.0%} of the variance",
        )
    if explained < LEAST_R2:
        return False, f"{pick.family.name} explains {explained:.0%} of the variance"
    return True, f"{pick.family.name} explains {explained:.0%} of the variance"


def _speed(model: Model, problem: Problem) -> float:
    """Return the seconds that one frame takes beyond its thumbnail, measured on some labels."""
    scene, some = problem.scene, problem.labelled[:: max(1, len(problem.labelled) // 64)]
    fresh = Scene(scene.pictures, scene.times, scene.breaks, scene.cancel, extras=scene.extras)
    fresh.keep(some)
    begin = time.perf_counter()
    model.predict(fresh, some)
    return (time.perf_counter() - begin) / len(some)


def _calibration(trained: Trained, problem: Problem) -> tuple[float, float]:
    """Return (slope, intercept) that take left-out scores to the values' least squares line."""
    share = problem.near.share
    scores = np.concatenate([trained.near, trained.far])
    values = np.concatenate([problem.values, problem.values])
    weights = (
        np.concatenate([share * problem.near.weights, np.full(len(problem.values), 1 - share)])
        + 1e-12
    )
    middle, level = np.average(scores, weights=weights), np.average(values, weights=weights)
    spread = float(np.average((scores - middle) ** 2, weights=weights))
    joint = float(np.average((scores - middle) * (values - level), weights=weights))
    slope = float(np.clip(joint / spread, 0.0, 1.5)) if spread > 1e-12 else 0.0
    return slope, float(level - slope * middle)


def squared_correlation(scores: Doubles, values: Doubles, weights: Doubles | None = None) -> float:
    """Return the squared correlation, 0 where it would be negative or one side is constant."""
    covariance = np.cov(scores, values, aweights=weights)
    spread = float(covariance[0, 0] * covariance[1, 1])
    joint = float(covariance[0, 1])
    return joint**2 / spread if spread > 1e-18 and joint > 0 else 0.0


def _commonest(values: Doubles) -> float:
    if not len(values):
        return 0.0
    found, counts = np.unique(values, return_counts=True)
    return float(found[counts.argmax()])
