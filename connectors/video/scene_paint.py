"""The rendered scene as a picture: stage, shadows, objects far to near, lamps and grain.

One `Scene` is one seed. It gives pictures with every object in them and what share of it shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from foveal.connectors.video.scene_drawn import Drawn, Light, Picture, Sprite, fill
from foveal.connectors.video.scene_people import Body, draw_person, person_body
from foveal.connectors.video.scene_stage import paint_stage
from foveal.connectors.video.scene_vehicles import Mesh, draw_vehicle, vehicle_mesh
from foveal.connectors.video.scene_world import HEIGHT, WIDTH, Traffic, lay_road

LEAST_VISIBLE = 0.5
"""An object counts when at least this share of it is not hidden, and as much is in the picture."""


@dataclass(frozen=True, slots=True)
class Object:
    """One object of one picture. `box` is cut at the picture's edge; shares are in 0..1.

    `visible`: share of its outline within the picture that nothing nearer hides.
    `inside`: share of its whole box that lies in the picture. `ident` names the object for as long
    as it lives, in and out of the picture.
    """

    kind: int
    box: tuple[float, float, float, float]
    visible: float
    inside: float
    ident: int = 0

    @property
    def counts(self) -> bool:
        """Whether the truth holds this object."""
        return self.visible >= LEAST_VISIBLE and self.inside >= LEAST_VISIBLE


class Scene:
    """One seeded scene: `advance` moves time on, `paint` gives the picture and its objects."""

    def __init__(self, seed: int, *, dusk: bool = False) -> None:
        """Build the stage and let 25 seconds of traffic pass."""
        place, light, stage, moves, grain = np.random.SeedSequence([seed, int(dusk)]).spawn(5)
        self.camera, self.road = lay_road(np.random.default_rng(place))
        self.light = _light(np.random.default_rng(light), dusk)
        self.background, self._sprites = paint_stage(
            self.camera, self.road, self.light, np.random.default_rng(stage)
        )
        self.traffic = Traffic(self.road, np.random.default_rng(moves))
        self._grain = np.random.default_rng(grain)
        sigma = self._grain.uniform(2.0, 4.0) * (1.5 if dusk else 1.0)
        wide = self._grain.normal(0, sigma, (HEIGHT + 64, WIDTH + 64, 1))
        self._noise = np.repeat(np.round(wide), 3, axis=2).astype(np.int16)
        self._meshes: dict[int, Mesh] = {}
        self._bodies: dict[int, Body] = {}

    def advance(self, seconds: float) -> None:
        """Let `seconds` of traffic pass."""
        self.traffic.advance(seconds)

    def paint(self) -> tuple[Picture, list[Object]]:
        """Return the picture, uint8 RGB [360, 640, 3], and every object at least partly in it."""
        drawn = self._drawn()
        image = self.background.copy()
        self._cast_shadows(image, drawn)
        order: list[Drawn | Sprite] = sorted([*drawn, *self._sprites], key=lambda d: -d.depth)
        for thing in order:
            if isinstance(thing, Sprite):
                _lay_over(image, thing)
            else:
                for points, colour in thing.polygons:
                    fill(image, points, colour)
                # Before what is nearer, so that no lamp shines through a car.
                for lamp in thing.lamps:
                    _glow(image, lamp.x, lamp.y, lamp.radius, lamp.colour)
        top, left = self._grain.integers(0, 64, 2)
        noise = self._noise[top : top + HEIGHT, left : left + WIDTH]
        picture = cv2.add(image, noise, dtype=cv2.CV_8U)
        return picture.astype(np.uint8, copy=False), _objects(order)

    def _drawn(self) -> list[Drawn]:
        road, drawn = self.road, list[Drawn]()
        for car in self.traffic.cars:
            o, way = road.lanes[car.lane]
            mesh = self._meshes.get(car.look)
            if mesh is None:
                mesh = self._meshes[car.look] = vehicle_mesh(car.look)
            heading = road.angle + (0.0 if way > 0 else np.pi)
            at = road.place(car.s, o)
            drawn.append(
                draw_vehicle(
                    mesh, car.ident, at, heading, self.camera, self.light, braking=car.braking
                )
            )
        for walker in self.traffic.walkers:
            body = self._bodies.get(walker.look)
            if body is None:
                body = self._bodies[walker.look] = person_body(walker.look)
            at = road.place(walker.s, walker.o)
            heading = road.angle + walker.heading
            phase = 0.0 if walker.waiting else walker.phase
            drawn.append(
                draw_person(body, walker.ident, at, heading, phase, self.camera, self.light)
            )
        return [d for d in drawn if _in_picture(d) and d.depth > 3.0]

    def _cast_shadows(self, image: Picture, drawn: list[Drawn]) -> None:
        """Darken the ground under and beside the objects; shadows do not add up."""
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        for thing in drawn:
            for k, shadow in enumerate(thing.shadows):
                fill(mask, shadow, 120 if k == 0 or self.light.sun is None else 105)
        soft = cv2.blur(mask, (3, 3) if self.light.sun is not None else (5, 5))
        factor = cv2.cvtColor(255 - soft, cv2.COLOR_GRAY2RGB)
        cv2.multiply(image, factor, dst=image, scale=1 / 255)


def _light(rng: np.random.Generator, dusk: bool) -> Light:
    if dusk:
        level = rng.uniform(0.34, 0.5)
        return Light(True, (level * 0.95, level * 0.97, level * rng.uniform(1.1, 1.3)), None)
    if rng.random() < 0.3:
        level = rng.uniform(0.78, 0.95)
        return Light(False, (level, level, level * 1.03), None)
    turn, fall = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.1)
    sun = np.array([np.cos(turn) * np.cos(fall), np.sin(turn) * np.cos(fall), -np.sin(fall)])
    level = rng.uniform(0.92, 1.08)
    warm = (level * 1.03, level, level * rng.uniform(0.88, 0.98))
    return Light(False, warm, (float(sun[0]), float(sun[1]), float(sun[2])))


def _in_picture(thing: Drawn) -> bool:
    x0, y0, x1, y1 = thing.box
    return x1 > 1 and y1 > 1 and x0 < WIDTH - 1 and y0 < HEIGHT - 1


def _lay_over(image: Picture, sprite: Sprite) -> None:
    high, wide = sprite.cover.shape
    part = image[sprite.y : sprite.y + high, sprite.x : sprite.x + wide]
    cover = sprite.cover[..., None].astype(np.uint16)
    part[:] = ((part * (255 - cover) + sprite.rgb * cover) // 255).astype(np.uint8)


_LINE = np.linspace(-1, 1, 33)
_DISC = np.clip(1 - np.hypot(_LINE[:, None], _LINE[None]), 0, 1).astype(np.float32) ** 1.6


def _glow(
    image: Picture, x: float, y: float, radius: float, colour: tuple[float, float, float]
) -> None:
    """Add a round glow of `colour` around (x, y)."""
    size = max(2, round(radius))
    left, top = round(x) - size, round(y) - size
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + 2 * size, WIDTH), min(top + 2 * size, HEIGHT)
    if x1 <= x0 or y1 <= y0:
        return
    disc = np.asarray(cv2.resize(_DISC, (2 * size, 2 * size)), np.float32)
    disc = disc[y0 - top : y1 - top, x0 - left : x1 - left]
    light = (disc[..., None] * np.array(colour, np.float32)).astype(np.uint8)
    part = image[y0:y1, x0:x1]
    part[:] = cv2.add(np.ascontiguousarray(part), light)


def _objects(order: list[Drawn | Sprite]) -> list[Object]:
    """Return the objects with their shares, nearest first: what is nearer hides what is behind."""
    taken = np.zeros((HEIGHT, WIDTH), np.uint8)
    found: list[Object] = []
    for thing in reversed(order):
        if isinstance(thing, Sprite):
            high, wide = thing.cover.shape
            part = taken[thing.y : thing.y + high, thing.x : thing.x + wide]
            np.maximum(part, (thing.cover > 127).astype(np.uint8), out=part)
            continue
        x0, y0, x1, y1 = thing.box
        box = max(x0, 0.0), max(y0, 0.0), min(x1, float(WIDTH)), min(y1, float(HEIGHT))
        inside = (box[2] - box[0]) * (box[3] - box[1]) / ((x1 - x0) * (y1 - y0))
        left, top = int(box[0]), int(box[1])
        right, bottom = min(int(box[2]) + 1, WIDTH), min(int(box[3]) + 1, HEIGHT)
        own = np.zeros((bottom - top, right - left), np.uint8)
        points = np.round((np.clip(thing.outline, -4000, 4000) - (left + 0.5, top + 0.5)) * 16)
        cv2.fillConvexPoly(own, points.astype(np.int32), 1, shift=4)
        part = taken[top:bottom, left:right]
        area = cv2.countNonZero(own)
        hidden = cv2.countNonZero(own & part)
        np.maximum(part, own, out=part)
        visible = 1 - hidden / area if area else 0.0
        found.append(Object(thing.kind, box, visible, inside, thing.ident))
    return found
