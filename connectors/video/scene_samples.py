"""Training pictures of rendered scenes: seeds in, one file of small pictures and boxes out.

`python -m foveal.connectors.video.scene_samples FILE.npz` writes what the training of the
demonstration's detector reads. Every few pictures come from another scene, half of them at dusk.
The full picture passes through JPEG at a random quality, because the detector will see decoded
video, and is then scaled to the detector's input.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from foveal.connectors.video.scene_paint import Scene
from foveal.connectors.video.scene_world import HEIGHT, WIDTH

FIRST_SEED = 1_000_000
"""Training uses seeds from here on; demonstrations and measurements stay below."""
PER_SCENE = 6


def write_samples(
    path: str | Path, *, pictures: int, size: tuple[int, int] = (320, 192), seed: int = FIRST_SEED
) -> None:
    """Write `pictures` training pictures of `size` (width, height) to `path` (NumPy .npz).

    Arrays: `images` uint8 [n, height, width, 3] RGB; and one row per object: `picture` int64,
    `kind` int64, `box` float32 [m, 4] in pixels of the small picture, `visible`, `inside` float32.
    """
    images = np.empty((pictures, size[1], size[0], 3), np.uint8)
    rows: list[tuple[float, ...]] = []
    scale_x, scale_y = size[0] / WIDTH, size[1] / HEIGHT
    rng = np.random.default_rng(seed)
    scene, began = Scene(seed), time.monotonic()
    for number in range(pictures):
        if number % PER_SCENE == 0:
            index = number // PER_SCENE
            scene = Scene(seed + index, dusk=index % 2 == 1)
        scene.advance(rng.uniform(1.5, 5.0))
        picture, objects = scene.paint()
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))]
        done, packed = cv2.imencode(".jpg", picture[..., ::-1], quality)
        assert done
        decoded = cv2.imdecode(packed, cv2.IMREAD_COLOR_RGB)
        assert decoded is not None
        way = cv2.INTER_AREA if rng.random() < 0.3 else cv2.INTER_LINEAR
        images[number] = cv2.resize(decoded, size, interpolation=way)
        for thing in objects:
            x0, y0, x1, y1 = thing.box
            box = (x0 * scale_x, y0 * scale_y, x1 * scale_x, y1 * scale_y)
            rows.append((number, thing.kind, *box, thing.visible, thing.inside))
        if number % 300 == 299:
            print(f"{number + 1} pictures, {time.monotonic() - began:.0f} s", file=sys.stderr)
    table = np.array(rows, np.float64).reshape(-1, 8)
    np.savez(
        path,
        images=images,
        picture=table[:, 0].astype(np.int64),
        kind=table[:, 1].astype(np.int64),
        box=table[:, 2:6].astype(np.float32),
        visible=table[:, 6].astype(np.float32),
        inside=table[:, 7].astype(np.float32),
    )


def main() -> None:
    """Write a file of training pictures, as the command line asks."""
    parser = argparse.ArgumentParser(description="Write training pictures of rendered scenes.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures", type=int, default=3600)
    parser.add_argument("--seed", type=int, default=FIRST_SEED)
    chosen = parser.parse_args()
    write_samples(chosen.out, pictures=chosen.pictures, seed=chosen.seed)


if __name__ == "__main__":
    main()
