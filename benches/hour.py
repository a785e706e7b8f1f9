"""A rendered hour for the benches: one street, rare people, and light that fails towards dusk.

    python benches/hour.py [--seconds 3600] [--out FILE]

36,000 frames at 10 per second with exact truth beside them (FILE.parquet). It is rendered once and
kept in the user's cache folder, never in the repository. The hour drifts: the sun fades over the
first half, dusk falls over the third quarter, traffic thickens slowly, and for the last ten minutes
a parked van that was not there before stands in the picture.
"""

from __future__ import annotations

import argparse
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from foveal.connectors.cachedir import cache_dir
from foveal.connectors.video.scene import Truth, truth_counts, truth_of
from foveal.connectors.video.scene_paint import Object, Scene

FPS = 10
SEED = 5
CARS, PEOPLE = 0.12, 1 / 600
"""Arrivals per second: a car every eight seconds, a person every ten minutes."""


def brightness(part: float) -> tuple[float, float, float]:
    """Return the gain of red, green and blue after `part` (0..1) of the hour."""
    if part < 0.5:
        level = 1.0 - 0.2 * part / 0.5
    elif part < 0.75:
        level = 0.8 - 0.35 * (part - 0.5) / 0.25
    else:
        level = 0.45
    return level, level, level * (1 + 0.25 * max(part - 0.5, 0.0))


def render_hour(path: Path, seconds: float = 3600.0) -> Truth:
    """Write the hour as H.264, a keyframe every two seconds, and its truth; return the truth."""
    frames = round(seconds * FPS)
    scene = Scene(SEED)
    scene.traffic.cars.clear()
    scene.traffic.walkers.clear()
    van = np.random.default_rng(SEED).integers(90, 160, 3).astype(np.uint8)
    rows: list[tuple[int, Object]] = []
    partial = path.with_suffix(".part.mp4")
    with av.open(str(partial), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        stream.codec_context.gop_size = 2 * FPS
        stream.options = {"preset": "veryfast", "crf": "23"}
        for number in range(frames):
            part = number / frames
            scene.traffic.car_rate, scene.traffic.walker_rate = CARS * (0.8 + 0.4 * part), PEOPLE
            if number:
                scene.advance(1 / FPS)
            picture, objects = scene.paint()
            rows.extend((number, o) for o in objects if o.counts)
            if part > 5 / 6:
                picture[300:352, 4:92], picture[308:326, 12:84] = van, van // 2
            lit = (picture * np.array(brightness(part), np.float32)).clip(0, 255)
            frame = av.VideoFrame.from_ndarray(lit.astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
            if number % 1000 == 0:
                print(f"\rrendering {number:,} of {frames:,} frames", end="", file=sys.stderr)
        container.mux(stream.encode(None))
    print(file=sys.stderr)
    truth = truth_of(rows, frames, FPS)
    truth.save(path.with_suffix(".parquet"))
    partial.rename(path)
    return truth


def hour(seconds: float = 3600.0) -> tuple[Path, Truth]:
    """Return the rendered hour and its truth, rendering it at first use."""
    folder = cache_dir("benches")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"hour-{SEED}-{seconds:g}.mp4"
    kept = path.with_suffix(".parquet")
    if path.is_file() and kept.is_file():
        return path, Truth.load(kept)
    return path, render_hour(path, seconds)


def main() -> None:
    """Render the hour and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0)
    options = parser.parse_args()
    path, truth = hour(options.seconds)
    for kind in truth.classes:
        counts = truth_counts(truth, kind)
        print(
            f"{kind}: in {np.mean(counts > 0):.2%} of the frames, mean {counts.mean():.3f}, "
            f"most {counts.max()}"
        )
    print(path)


if __name__ == "__main__":
    main()
