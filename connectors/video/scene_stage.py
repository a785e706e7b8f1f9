"""The rendered scene's stage: ground, buildings, trees, and what stands before the traffic.

Everything here stands still, so it is painted once per scene, twice as finely as the picture, and
scaled down. Things nearer than the traffic become sprites that are laid over moving objects.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from foveal.connectors.video.scene_camera import Camera, Floats
from foveal.connectors.video.scene_drawn import Colour, Light, Picture, Sprite, fill, times
from foveal.connectors.video.scene_ground import Ground
from foveal.connectors.video.scene_world import Road

FINE = 2


def paint_stage(
    camera: Camera, road: Road, light: Light, rng: np.random.Generator
) -> tuple[Picture, list[Sprite]]:
    """Return the empty scene, uint8 RGB [height, width, 3], and the sprites before the traffic."""
    x, y, below = camera.ground(FINE)
    s, o = road.measure(x, y)
    ground = Ground(x, y, s, o, rng)
    image = ground.paint(road, light)
    sky: Colour = (168, 190, 214) if not light.dusk else (120, 110, 130)
    image[~below] = sky
    canvas = np.clip(image, 0, 255).astype(np.uint8)
    stage = _Stage(camera, road, light, rng, canvas)
    stage.furnish()
    lit = canvas.astype(np.float32) * np.array(light.tint, np.float32)
    if light.dusk:
        lit += stage.lamp_light(s, o)
        lit = np.maximum(lit, stage.glow)
    small = cv2.resize(lit, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    return np.clip(small, 0, 255).astype(np.uint8), stage.sprites


class _Stage:
    """Upright things: behind the traffic they join the canvas, before it they become sprites."""

    def __init__(
        self, camera: Camera, road: Road, light: Light, rng: np.random.Generator, canvas: Picture
    ):
        self.camera, self.road, self.light, self.rng = camera, road, light, rng
        self.canvas = canvas
        self.glow = np.zeros(canvas.shape, np.float32)
        self.sprites: list[Sprite] = []
        self.far = 1.0 if math.cos(road.angle) >= 0 else -1.0
        self.edge = road.half + road.walk
        self.lamps: list[tuple[float, float]] = []

    def furnish(self) -> None:
        """Place buildings, trees, posts and small things; the farthest first."""
        rng, low, high = self.rng, *self.road.span
        sides = [self.far] + ([-self.far] if abs(math.degrees(self.road.angle)) > 78 else [])
        if rng.random() < 0.75:
            for side in sides:
                self._row_of_buildings(side)
        far_trees = sorted(rng.uniform(low, high, int(rng.integers(0, 4))), key=self._far_first)
        for s in far_trees:
            self._tree(self.canvas, float(s), self.far * (self.edge + rng.uniform(0.6, 2.0)))
        for _ in range(int(rng.integers(1, 6))):
            at = self.far * (self.edge + rng.uniform(0.1, 0.8))
            self._small_thing(float(rng.uniform(low, high)), at)
        if self.light.dusk or rng.random() < 0.6:
            for s in np.arange(low + rng.uniform(0, 8), high, rng.uniform(9, 14)):
                self.lamps.append((float(s), self.far * (self.road.half + 0.4)))
                self._post(self.canvas, float(s), self.far * (self.edge + 0.3), rng.uniform(4, 6))
        for _ in range(int(rng.choice([0, 1, 1, 2]))):
            self._before_traffic(float(rng.uniform(low * 0.6, high * 0.6)))

    def _far_first(self, s: float) -> float:
        return -self.road.place(s, self.far * self.edge)[1]

    def _quad(self, image: Picture, corners: list[tuple[float, float, float]], c: Colour) -> None:
        """Fill a face given by (s, o, z) corners."""
        world = np.array([(*self.road.place(s, o), z) for s, o, z in corners])
        points, depth = self.camera.project(world)
        if float(depth.min()) > 2.0:
            fill(image, points * FINE, c)

    def _block(
        self,
        image: Picture,
        s: tuple[float, float],
        o: tuple[float, float],
        z: tuple[float, float],
        colour: Colour,
    ) -> None:
        """Fill an upright block: its faces farthest first, so the near ones stay."""
        s0, s1 = s
        o0, o1 = o
        z0, z1 = z
        faces = [
            ([(s0, o0, z0), (s1, o0, z0), (s1, o0, z1), (s0, o0, z1)], 0.95),
            ([(s0, o1, z0), (s1, o1, z0), (s1, o1, z1), (s0, o1, z1)], 0.95),
            ([(s0, o0, z0), (s0, o1, z0), (s0, o1, z1), (s0, o0, z1)], 0.75),
            ([(s1, o0, z0), (s1, o1, z0), (s1, o1, z1), (s1, o0, z1)], 0.75),
        ]
        eye = np.zeros(2)
        faces.sort(
            key=lambda face: (
                -float(
                    np.linalg.norm(np.mean([self.road.place(p[0], p[1]) for p in face[0]], 0) - eye)
                )
            )
        )
        for corners, lift in faces:
            self._quad(image, corners, times(colour, lift))
        if z1 < self.camera.mast:
            top = [(s0, o0, z1), (s1, o0, z1), (s1, o1, z1), (s0, o1, z1)]
            self._quad(image, top, times(colour, 1.1))

    def _row_of_buildings(self, side: float) -> None:
        rng = self.rng
        walls = ((168, 150, 132), (150, 96, 78), (196, 186, 168), (120, 124, 132), (176, 164, 128),
                 (98, 106, 112), (206, 200, 190))  # fmt: skip
        s, row = self.road.span[0] - 12, list[tuple[float, float]]()
        while s < self.road.span[1] + 12:
            wide = rng.uniform(5, 13)
            if rng.random() < 0.85:
                row.append((s, s + wide - 0.1))
            s += wide + (rng.uniform(1, 5) if rng.random() < 0.3 else 0)
        front = side * (self.edge + rng.uniform(0.3, 4))
        row.sort(key=lambda pair: -math.hypot(*self.road.place(sum(pair) / 2, front)))
        for s0, s1 in row:
            wall = times(walls[int(rng.integers(len(walls)))], rng.uniform(0.8, 1.1))
            back, tall = front + side * 8, rng.uniform(3.5, 11)
            self._block(self.canvas, (s0, s1), (front, back), (0, tall), wall)
            self._windows(s0, s1, front, tall, wall)

    def _windows(self, s0: float, s1: float, front: float, tall: float, wall: Colour) -> None:
        rng, storey = self.rng, self.rng.uniform(2.7, 3.4)
        wide, gap = rng.uniform(0.9, 1.8), rng.uniform(0.5, 1.6)
        pane: Colour = (70, 84, 98) if rng.random() < 0.7 else (112, 128, 140)
        shop = rng.random() < 0.5
        band = (196, 60, 50) if rng.random() < 0.5 else (60, 110, 90)
        for level in range(int(tall / storey) + 1):
            z0, z1 = level * storey + 0.8, level * storey + 2.2
            if level == 0 and shop:
                z0, z1 = 0.3, 2.3
                self._pane(s0 + 0.4, s1 - 0.4, front, 2.45, 2.95, times(band, 0.9))
            if z1 > tall - 0.2:
                continue
            for s in np.arange(s0 + gap, s1 - wide, wide + gap):
                self._pane(
                    float(s), float(s) + wide, front, z0, z1, times(pane, rng.uniform(0.7, 1.2))
                )
                if self.light.dusk and rng.random() < 0.3:
                    warm = times((214, 172, 104), rng.uniform(0.6, 1.0))
                    self._pane(float(s), float(s) + wide, front, z0, z1, warm, lit=True)
        if wall and rng.random() < 0.4:
            self._pane(s0, s1, front, tall - 0.3, tall, times(wall, 0.7))

    def _pane(
        self, s0: float, s1: float, o: float, z0: float, z1: float, c: Colour, lit: bool = False
    ) -> None:
        corners = [(s0, o, z0), (s1, o, z0), (s1, o, z1), (s0, o, z1)]
        if not lit:
            self._quad(self.canvas, corners, c)
            return
        world = np.array([(*self.road.place(s, o), z) for s, o, z in corners])
        points, depth = self.camera.project(world)
        if float(depth.min()) > 2.0:
            fixed = np.round(np.clip(points * FINE, -4000, 4000) * 16).astype(np.int32)
            cv2.fillConvexPoly(self.glow, fixed, c, shift=4)

    def _tree(self, image: Picture, s: float, o: float) -> None:
        rng = self.rng
        x, y = self.road.place(s, o)
        tall = rng.uniform(3.5, 6.5)
        bark: Colour = (92, 72, 54)
        width = rng.uniform(0.14, 0.24)
        ends, _ = self.camera.project(np.array([(x, y, 0.0), (x, y, tall * 0.7)]))
        scale = self._scale(x, y)
        across = np.array([width * scale, 0.0])
        fill(
            image,
            np.stack([ends[0] - across, ends[0] + across, ends[1] + across * 0.6,
                      ends[1] - across * 0.6]) * FINE,
            bark,
        )  # fmt: skip
        leaf = np.array([(70, 104, 48), (94, 118, 52), (120, 112, 50), (54, 86, 52)])[
            int(rng.integers(4))
        ]
        middle, _ = self.camera.project(np.array([(x, y, tall * 0.78)]))
        for k in range(70):
            spread = rng.normal(0, 0.36, 2) * (tall * 0.32 * scale, tall * 0.26 * scale)
            at = (middle[0] + spread) * FINE
            lift = 0.62 + 0.4 * k / 70 + rng.uniform(-0.12, 0.12) - 0.002 * float(spread[1])
            r, g, b = (float(c * lift) for c in leaf)
            radius = max(1, round(rng.uniform(0.16, 0.42) * scale * FINE))
            cv2.circle(image, (round(at[0]), round(at[1])), radius, (r, g, b), -1, cv2.LINE_AA)

    def _scale(self, x: float, y: float) -> float:
        return self.camera.focal / float(self.camera.project(np.array([(x, y, 0.0)]))[1][0])

    def _post(self, image: Picture, s: float, o: float, tall: float) -> None:
        x, y = self.road.place(s, o)
        ends, _ = self.camera.project(np.array([(x, y, 0.0), (x, y, tall)]))
        across = np.array([0.08 * self._scale(x, y), 0.0])
        post = np.stack([ends[0] - across, ends[0] + across, ends[1] + across, ends[1] - across])
        fill(image, post * FINE, (74, 78, 80))
        if self.rng.random() < 0.4:
            size = 0.34 * self._scale(x, y) * FINE
            at = (round(ends[1][0] * FINE), round((ends[1][1] + 0.3 * across[0]) * FINE))
            colour = ((190, 40, 40), (40, 80, 160), (220, 190, 60))[int(self.rng.integers(3))]
            cv2.circle(image, at, max(2, round(size)), colour, -1, cv2.LINE_AA)

    def _small_thing(self, s: float, o: float) -> None:
        """A bin, bollard, bench, hedge or cabinet: about a person's or a car's size, on purpose."""
        rng, canvas = self.rng, self.canvas
        kind = int(rng.integers(5))
        if kind == 0:
            self._block(canvas, (s, s + 0.5), (o, o + 0.5), (0, 1.0), (60, 84, 66))
        elif kind == 1:
            for k in range(4):
                self._block(
                    canvas, (s + k * 1.6, s + k * 1.6 + 0.2), (o, o + 0.2), (0, 0.9), (70, 70, 74)
                )
        elif kind == 2:
            self._block(canvas, (s, s + 1.8), (o, o + 0.5), (0.35, 0.5), (128, 92, 60))
            self._block(canvas, (s, s + 1.8), (o + 0.45, o + 0.5), (0.5, 0.95), (128, 92, 60))
        elif kind == 3:
            self._block(canvas, (s, s + rng.uniform(2, 5)), (o, o + 0.8), (0, 1.1), (64, 92, 50))
        else:
            self._block(canvas, (s, s + 0.7), (o, o + 0.5), (0, 1.6), (136, 140, 136))

    def _before_traffic(self, s: float) -> None:
        """Put a tree, a post or a cabinet on the near side, as a sprite."""
        rng = self.rng
        o = -self.far * (self.edge + rng.uniform(0.2, 1.0))
        x, y = self.road.place(s, o)
        _, depth = self.camera.project(np.array([(x, y, 0.0)]))
        if float(depth[0]) < 4:
            return
        layers: list[Picture] = []
        kind = rng.random()
        chosen = rng.bit_generator.state
        for shade in (0, 255):
            # Painted on black and on white: where both agree the sprite covers fully.
            rng.bit_generator.state = chosen
            layer = np.full_like(self.canvas, shade)
            if kind < 0.45:
                self._tree(layer, s, o)
            elif kind < 0.85:
                self._post(layer, s, o, rng.uniform(3.5, 7))
            else:
                self._block(layer, (s, s + 0.9), (o, o + 0.5), (0, 1.5), (120, 124, 118))
            layers.append(layer)
        size = (self.camera.width, self.camera.height)
        black, white = (cv2.resize(n, size, interpolation=cv2.INTER_AREA) for n in layers)
        cover = 255 - (white.astype(np.int16) - black).max(axis=2)
        rows, columns = np.nonzero(cover > 0)
        if rows.size < 30:
            return
        y0, y1, x0, x1 = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
        clear = np.clip(cover[y0:y1, x0:x1], 1, 255).astype(np.float32)[..., None] / 255
        rgb = black[y0:y1, x0:x1] / clear * np.array(self.light.tint, np.float32)
        self.sprites.append(
            Sprite(
                float(depth[0]),
                int(x0),
                int(y0),
                np.clip(rgb, 0, 255).astype(np.uint8),
                cover[y0:y1, x0:x1].astype(np.uint8),
            )
        )

    def lamp_light(self, s: Floats, o: Floats) -> npt.NDArray[np.float32]:
        """Return the street lamps' light on the ground, float32 [h, w, 3], to be added."""
        light = np.zeros(s.shape, np.float32)
        for at, off in self.lamps:
            light += np.exp(-((s - at) ** 2 + (o - off * 0.6) ** 2) / 14).astype(np.float32)
        warm = np.array((44, 36, 22), np.float32)
        return np.minimum(light, 1.2)[..., None] * warm
