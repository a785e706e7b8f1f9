"""Unmodified NumPy, SciPy, pandas and OpenCV pipelines, with foveal's annotations and without.

Each pipeline is one function over modules; with annotations the modules are stand-ins whose calls
are captured and run in cache-sized chunks on all threads (S. Palkar and M. Zaharia, SOSP 2019).
Interleaved repeats, medians. "Memory-bound" pipelines do little arithmetic per byte.

    python benches/split.py [--quick] [--json]
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import scipy.special
from report import arguments, peer, report

import foveal
from foveal.udfs.functions.split_run import cache_bytes, threads_available
from foveal.udfs.functions.splitting import Lazy

xp: Any = foveal.annotated(np)
special: Any = foveal.annotated(scipy.special)
cv: Any = foveal.annotated(cv2)
Pipeline = Callable[..., Any]


def black_scholes(np_: Any, sp: Any, s: Any, k: Any, t: Any, r: Any, v: Any) -> Any:
    """Calls and puts."""
    spread = np_.multiply(v, np_.sqrt(t))
    drift = np_.multiply(np_.add(r, np_.multiply(np_.multiply(v, v), 0.5)), t)
    d1 = np_.divide(np_.add(np_.log(np_.divide(s, k)), drift), spread)
    d2 = np_.subtract(d1, spread)
    n1 = np_.add(0.5, np_.multiply(0.5, sp.erf(np_.multiply(d1, 0.7071067811865476))))
    n2 = np_.add(0.5, np_.multiply(0.5, sp.erf(np_.multiply(d2, 0.7071067811865476))))
    worth = np_.multiply(k, np_.exp(np_.multiply(np_.negative(r), t)))
    call = np_.subtract(np_.multiply(s, n1), np_.multiply(worth, n2))
    return call, np_.add(np_.subtract(worth, s), call)


def haversine(np_: Any, _: Any, lat1: Any, lon1: Any, lat2: Any, lon2: Any) -> Any:
    """Distances over the earth."""
    a = np_.sin(np_.multiply(np_.subtract(lat2, lat1), 0.5))
    b = np_.sin(np_.multiply(np_.subtract(lon2, lon1), 0.5))
    both = np_.multiply(np_.cos(lat1), np_.cos(lat2))
    h = np_.add(np_.multiply(a, a), np_.multiply(both, np_.multiply(b, b)))
    return np_.multiply(12742.0, np_.arcsin(np_.sqrt(h)))


def crime(np_: Any, _: Any, population: Any, adults: Any, robberies: Any) -> Any:
    """Crime index in NumPy."""
    index = np_.add(population, np_.multiply(2.0, adults))
    index = np_.divide(np_.subtract(index, np_.multiply(2000.0, robberies)), 100000.0)
    index = np_.where(np_.greater(index, 0.02), 0.032, index)
    index = np_.where(np_.less(index, 0.01), 0.005, index)
    return np_.sum(np_.where(np_.greater(population, 500000.0), index, 0.0))


def crime_pandas(s: Any, _: Any, population: Any, adults: Any, robberies: Any) -> Any:
    """Crime index in pandas: its methods as functions, so that they can be annotated."""
    index = s.add(population, s.mul(adults, 2.0))
    index = s.truediv(s.sub(index, s.mul(robberies, 2000.0)), 100000.0)
    index = s.mask(index, s.gt(index, 0.02), 0.032)
    index = s.mask(index, s.lt(index, 0.01), 0.005)
    return s.sum(s.mask(index, s.le(population, 500000.0), 0.0))


def blend(np_: Any, _: Any, a: Any, b: Any, c: Any) -> Any:
    """Element-wise steps with one operation per byte or less."""
    x = np_.add(np_.multiply(a, 0.3), np_.multiply(b, 0.7))
    y = np_.maximum(np_.subtract(x, c), 0.0)
    z = np_.minimum(np_.add(y, np_.abs(np_.subtract(a, b))), 1.0)
    return np_.add(np_.multiply(z, z), np_.multiply(x, 0.5))


def water(np_: Any, _: Any, h: Any, u: Any, v: Any, dh: Any, du: Any, dv: Any) -> Any:
    """The pointwise part of a shallow-water step; differences to neighbours are given."""
    eta = np_.subtract(h, np_.multiply(0.1, np_.add(dh, np_.multiply(h, du))))
    x = np_.subtract(u, np_.multiply(0.1, np_.add(np_.multiply(9.81, dh), np_.multiply(u, du))))
    y = np_.subtract(v, np_.multiply(0.1, np_.add(np_.multiply(9.81, dh), np_.multiply(v, dv))))
    energy = np_.multiply(0.5, np_.multiply(eta, np_.add(np_.multiply(x, x), np_.multiply(y, y))))
    return np_.sum(energy)


def picture(cv_: Any, _: Any, image: Any, other: Any) -> Any:
    """Steps on a picture that look at one pixel each."""
    mixed = cv_.addWeighted(image, 0.6, other, 0.4, 3.0)
    brighter = cv_.convertScaleAbs(mixed, None, 1.2, 5.0)
    table = np.arange(255, -1, -1).astype(np.uint8)
    negative = cv_.LUT(brighter, table)
    edges = cv_.absdiff(negative, image)
    return cv_.add(cv_.multiply(edges, edges, None, 1.0 / 255.0), brighter)


def value_of(made: Any) -> Any:
    """Return results, running what was captured together."""
    if isinstance(made, tuple):
        from foveal.udfs.functions.split_run import evaluate

        return tuple(evaluate(list(made)))  # pyright: ignore
    return made.value() if isinstance(made, Lazy) else made


class SeriesMethods:
    """pandas' methods of Series as functions, annotated or not."""

    def __init__(self, annotated: bool) -> None:
        """Say whether calls are captured."""
        self._annotated = annotated

    def __getattr__(self, name: str) -> Any:
        """Return a method as a function."""
        found: Any = getattr(peer("pandas").Series, name)
        return foveal.annotate(found) if self._annotated else found


def case(
    name: str, bound: str, pipeline: Pipeline, plain: tuple[Any, Any], ours: tuple[Any, Any],
    data: list[Any], repeats: int,
) -> dict[str, Any]:  # fmt: skip
    """Time a pipeline both ways in turn, after comparing what it gives."""

    def without() -> Any:
        return pipeline(*plain, *data)

    def annotated() -> Any:
        return value_of(pipeline(*ours, *data))

    wanted: Any = without()
    made: Any = annotated()
    pairs: Any = (
        [(wanted, made)] if pipeline is not black_scholes else zip(wanted, made, strict=True)
    )
    for a, b in pairs:  # pyright: ignore
        np.testing.assert_allclose(np.asarray(b, float), np.asarray(a, float), rtol=1e-9)
    seconds: dict[str, list[float]] = {"without": [], "annotated": []}
    for _ in range(repeats):
        for key, call in (("without", without), ("annotated", annotated)):
            begun = time.perf_counter()
            call()
            seconds[key].append(time.perf_counter() - begun)
    us, them = (statistics.median(seconds[k]) for k in ("annotated", "without"))
    least = min(seconds["without"]) / min(seconds["annotated"])
    return {"case": f"{name} ({bound}-bound)", "peer": "without annotations", "ours": us * 1e3,
            "theirs": them * 1e3, "ratio": them / us, "spread": abs(them / us - least),
            "unit": "ms"}  # fmt: skip


def main() -> None:
    """Run every pipeline and report."""
    args = arguments(__doc__ or "")
    n = 2_000_000 if args.quick else 16_000_000
    repeats = 7 if args.quick else 9
    rng = np.random.default_rng(0)
    cv2.setNumThreads(threads_available())  # as it is by default
    numpy_ = (np, scipy.special)
    split = (xp, special)

    def vectors(*spans: tuple[float, float]) -> list[Any]:
        return [rng.uniform(low, high, n) for low, high in spans]

    unit = (0.0, 1.0)
    people = vectors((0, 1e6), (0, 5e5), (0, 1e3))
    shape = (1080 if args.quick else 4320, 3840, 3)
    images: list[Any] = [rng.integers(0, 256, shape, np.uint8) for _ in range(2)]
    rows = [
        case("Black-Scholes, NumPy + SciPy", "arithmetic", black_scholes, numpy_, split,
             vectors((10, 50), (10, 50), (1, 2), (0.01, 0.05), (0.1, 0.3)), repeats),
        case("haversine, NumPy", "arithmetic", haversine, numpy_, split,
             vectors((-1.5, 1.5), (-3, 3), (-1.5, 1.5), (-3, 3)), repeats),
        case("crime index, NumPy", "memory", crime, numpy_, split, people, repeats),
        case("crime index, pandas", "memory", crime_pandas, (SeriesMethods(False), None),
             (SeriesMethods(True), None), [peer("pandas").Series(p) for p in people], repeats),
        case("blend, NumPy", "memory", blend, numpy_, split, vectors(unit, unit, unit), repeats),
        case("shallow water, NumPy", "memory", water, numpy_, split, vectors(*[unit] * 6), repeats),
        case("picture, OpenCV", "memory", picture, (cv2, None), (cv, None), images, repeats),
    ]  # fmt: skip
    if not args.json:
        print(
            f"{n} rows, {repeats} repeats, {threads_available()} threads, "
            f"L2 {cache_bytes() >> 10} KiB, load {os.getloadavg()[0]:.1f}"
        )
    report("split", rows, quiet=args.json)


if __name__ == "__main__":
    main()
