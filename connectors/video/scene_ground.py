"""The rendered scene's ground: road, markings, pavements and what lies flat beside them."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from foveal.connectors.video.scene_camera import Floats
from foveal.connectors.video.scene_drawn import Light
from foveal.connectors.video.scene_world import Road


class Ground:
    """Colours of the flat ground; all arrays [height * FINE, width * FINE]."""

    def __init__(
        self, x: Floats, y: Floats, s: Floats, o: Floats, rng: np.random.Generator
    ) -> None:
        """Keep where each pixel lies (world x, y; road s, o) and make a tile of noise."""
        self.x, self.y, self.s, self.o, self.rng = x, y, s, o, rng
        tile = np.zeros((256, 256), np.float32)
        for octave in range(6):
            cells = 8 << octave
            rough = rng.random((min(cells, 256), min(cells, 256)), np.float32)
            tile += cv2.resize(rough, (256, 256), interpolation=cv2.INTER_CUBIC) / (octave + 1.5)
        low, high = float(tile.min()), float(tile.max())
        self.tile = np.asarray((tile - low) / (high - low), np.float32)

    def noise(self, per_metre: float) -> npt.NDArray[np.float32]:
        """Return noise in 0..1 fixed to the ground; `per_metre` cells of the tile per metre."""
        # The tile is mirrored at its edges, so that no seam shows.
        u = np.abs(np.mod(self.x * per_metre, 510) - 255).astype(np.float32)
        v = np.abs(np.mod(self.y * per_metre, 510) - 255).astype(np.float32)
        picked = cv2.remap(self.tile, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(picked, np.float32)

    def paint(self, road: Road, light: Light) -> npt.NDArray[np.float32]:
        """Return the ground in plain daylight, RGB in about 0..255, [h, w, 3]."""
        rng, s, o = self.rng, self.s.astype(np.float32), self.o.astype(np.float32)
        side = np.abs(o)
        coarse, grain = self.noise(1.7), self.noise(23.0)
        lands = ((86, 112, 58), (152, 146, 136), (138, 118, 90), (126, 126, 124), (146, 136, 90))
        land = np.array(lands[int(rng.integers(len(lands)))], np.float32) * rng.uniform(0.85, 1.1)
        rough = 1 + 0.45 * (coarse - 0.5) + 0.4 * (grain - 0.5)
        image = np.asarray(land * rough[..., None], np.float32)
        paving = np.array(
            rng.choice(np.array([(158, 154, 148), (140, 134, 128), (164, 140, 122)])), np.float32
        ) * rng.uniform(0.85, 1.1)
        tile = rng.uniform(0.6, 1.6)
        joints = (np.mod(s, tile) < 0.06) | (np.mod(o, tile) < 0.06)
        shade = (1 + 0.14 * (coarse - 0.5) + 0.18 * (grain - 0.5)) * np.where(joints, 0.86, 1.0)
        on_walk = (side > road.half) & (side < road.half + road.walk)
        image[on_walk] = (paving * shade[..., None])[on_walk]
        image[(side > road.half) & (side < road.half + 0.18)] = (178, 176, 170)
        grey = rng.uniform(66, 118)
        asphalt = np.array([grey, grey * rng.uniform(0.97, 1.01), grey * rng.uniform(0.95, 1.05)])
        tracks = sum(
            np.exp(-(((o - lane + shift) / 0.35) ** 2))
            for lane, _ in road.lanes
            for shift in (-0.8, 0.8)
        )
        worn = 1 + 0.22 * (coarse - 0.5) + 0.3 * (grain - 0.5) - 0.07 * tracks
        surface = asphalt.astype(np.float32) * worn[..., None]
        on_road = side <= road.half
        if rng.random() < 0.35:
            branch, turn = rng.uniform(road.span[0] + 4, road.span[1] - 4), rng.choice([-1.0, 1.0])
            on_road |= (np.abs(s - branch) < rng.uniform(2.2, 3.4)) & (o * turn > 0)
        image[on_road] = surface[on_road]
        self._mark(image, road, s, o, side, grain)
        if light.sun is not None:
            self._tree_shade(image, road, s, o, coarse)
        return image

    def _mark(
        self,
        image: npt.NDArray[np.float32],
        road: Road,
        s: npt.NDArray[np.float32],
        o: npt.NDArray[np.float32],
        side: npt.NDArray[np.float32],
        grain: npt.NDArray[np.float32],
    ) -> None:
        rng = self.rng
        lines = np.zeros(s.shape, bool)
        dash, share = rng.uniform(3, 7), rng.uniform(0.4, 0.6)
        broken = np.mod(s, dash) < dash * share
        if rng.random() < 0.75:
            lines |= (side < 0.08) & (broken | (rng.random() < 0.4))
        width = 2 * (road.half - 0.4) / len(road.lanes)
        for k in range(1, len(road.lanes) // 2):
            lines |= (np.abs(side - k * width) < 0.07) & broken
        if rng.random() < 0.5:
            lines |= np.abs(side - road.half + 0.25) < 0.06
        paint = (220, 184, 70) if rng.random() < 0.25 else (224, 224, 218)
        if road.crossing is not None:
            at = np.abs(s - road.crossing)
            lines &= at > 2.2
            lines |= (at < 1.6) & (np.mod(o + 20.25, 1.0) < 0.5) & (side < road.half - 0.2)
            lines |= (np.abs(at - 2.4) < 0.12) & (side < road.half - 0.2)
        lines &= grain > rng.uniform(0.1, 0.35)
        image[lines] = np.array(paint, np.float32) * rng.uniform(0.85, 1.0)
        for _ in range(int(rng.integers(0, 4))):
            at, off = rng.uniform(*road.span), rng.uniform(-road.half, road.half)
            image[(s - at) ** 2 + (o - off) ** 2 < 0.14] *= 0.62
        for _ in range(int(rng.integers(0, 4))):
            at, off = rng.uniform(*road.span), rng.uniform(-road.half, road.half)
            patch = (np.abs(s - at) < rng.uniform(0.6, 3)) & (np.abs(o - off) < rng.uniform(0.3, 1))
            image[patch & (side < road.half)] *= rng.uniform(0.75, 1.15)

    def _tree_shade(
        self,
        image: npt.NDArray[np.float32],
        road: Road,
        s: npt.NDArray[np.float32],
        o: npt.NDArray[np.float32],
        coarse: npt.NDArray[np.float32],
    ) -> None:
        rng = self.rng
        for _ in range(int(rng.integers(0, 4))):
            at = rng.uniform(*road.span)
            off = rng.choice([-1.0, 1.0]) * (road.half + rng.uniform(0, 4))
            spread = ((s - at) / rng.uniform(1.5, 3)) ** 2 + ((o - off) / rng.uniform(1, 2.2)) ** 2
            image[spread + 0.9 * (coarse - 0.5) < 1] *= 0.66
