"""The rendered scene's people: a seeded look and a place in, shaded polygons out.

A person is drawn flat, facing the camera, with swinging legs and arms. The box comes from the
points that are drawn, so it is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from foveal.connectors.video.scene_camera import Camera, Floats
from foveal.connectors.video.scene_drawn import Colour, Drawn, Light, hull

CLOTHES: tuple[Colour, ...] = (
    (200, 40, 44), (38, 60, 120), (32, 34, 40), (226, 226, 220), (56, 118, 72), (214, 160, 46),
    (120, 70, 130), (94, 98, 108), (230, 120, 130), (70, 150, 170), (130, 92, 62), (186, 190, 200),
)  # fmt: skip
SKINS: tuple[Colour, ...] = ((236, 196, 170), (206, 156, 120), (150, 104, 74), (96, 64, 46))


@dataclass(frozen=True, slots=True)
class Body:
    """A person's look: height and breadth in metres, colours, and what is carried."""

    tall: float
    broad: float
    top: Colour
    legs: Colour
    skin: Colour
    hair: Colour
    skirt: bool
    bag: Colour | None


def person_body(look: int) -> Body:
    """Return the person of a look seed."""
    rng = np.random.default_rng(look)

    def pick(colours: tuple[Colour, ...]) -> Colour:
        r, g, b = colours[int(rng.integers(len(colours)))]
        lift = rng.uniform(0.8, 1.1)
        return r * lift, g * lift, b * lift

    return Body(
        tall=rng.uniform(1.56, 1.92),
        broad=rng.uniform(0.46, 0.6),
        top=pick(CLOTHES),
        legs=pick(((36, 42, 66), (30, 30, 34), (88, 84, 78), (150, 140, 118), (58, 74, 108))),
        skin=pick(SKINS),
        hair=pick(((34, 26, 22), (92, 62, 36), (190, 160, 96), (120, 118, 116))),
        skirt=bool(rng.random() < 0.18),
        bag=pick(CLOTHES) if rng.random() < 0.35 else None,
    )


_CIRCLE = np.stack([np.cos(np.arange(10) * math.pi / 5), np.sin(np.arange(10) * math.pi / 5)], 1)


def draw_person(
    body: Body,
    ident: int,
    at: tuple[float, float],
    heading: float,
    phase: float,
    camera: Camera,
    light: Light,
) -> Drawn:
    """Return the person standing at world (x, y), walking towards `heading`, legs at `phase`."""
    tall, side = body.tall, abs(math.cos(heading))
    broad = body.broad * (1 - 0.35 * side)
    swing = math.sin(phase)
    stride = (0.30 * side + 0.03) * swing
    hip, neck = 0.5 * tall, 0.84 * tall
    leg = 0.085 * tall / 1.7
    gap = 0.09 * (1 - side)
    facing = 1.0 if math.cos(heading) >= 0 else -1.0
    shapes: list[tuple[Floats, Colour, float]] = []
    lift0, lift1 = max(0.0, -swing) * 0.05, max(0.0, swing) * 0.05
    shapes.append((_limb((-gap, hip), (-gap - stride, lift0), leg), body.legs, 0.82))
    arm = 0.055 * tall / 1.7
    shoulder, hand = broad / 2 * (0.9 - 0.7 * side), 0.46 * tall
    reach = stride * 0.75
    shapes.append((_limb((-shoulder, neck - 0.05), (-shoulder + reach, hand), arm), body.top, 0.8))
    shapes.append((_limb((gap, hip), (gap + stride, lift1), leg), body.legs, 1.0))
    if body.skirt:
        flare = broad * 0.62
        skirt = [(-broad / 3, hip + 0.08), (broad / 3, hip + 0.08), (flare, 0.27), (-flare, 0.27)]
        shapes.append((np.array(skirt), body.top, 0.9))
    waist = broad * 0.42
    torso = [(-waist, hip - 0.03), (waist, hip - 0.03), (broad / 2, neck - 0.06),
             (broad / 3.2, neck), (-broad / 3.2, neck), (-broad / 2, neck - 0.06)]  # fmt: skip
    if body.bag is not None and side > 0.5:
        x = -facing * broad * 0.62
        bag = [(x - 0.13, hip + 0.12), (x + 0.13, hip + 0.12), (x + 0.11, neck - 0.08),
               (x - 0.11, neck - 0.08)]  # fmt: skip
        shapes.append((np.array(bag), body.bag, 0.9))
    shapes.append((np.array(torso), body.top, 1.0))
    shapes.append((_limb((shoulder, neck - 0.05), (shoulder - reach, hand), arm), body.top, 0.9))
    head = 0.068 * tall
    shapes.append((_CIRCLE * head * (0.86, 1.0) + (0.0, tall - head), body.hair, 1.0))
    if math.sin(heading) < 0.5:
        face = _CIRCLE * head * (0.62, 0.74) + (facing * side * head * 0.3, tall - head * 1.15)
        shapes.append((face, body.skin, 1.0))
    flat = np.concatenate([s[0] for s in shapes])
    across = camera.axes()[0] * (1, 1, 0)
    points = flat[:, :1] * across[None] + np.array([at[0], at[1], 0.0])
    points[:, 2] = np.maximum(flat[:, 1], 0.0)
    picture, depth = camera.project(points)
    cuts = np.cumsum([0] + [len(s[0]) for s in shapes])
    boost = 1.0 if light.sun is None else 1.12
    polygons = [
        (picture[cuts[i] : cuts[i + 1]], light.shade(colour, lift * boost))
        for i, (_, colour, lift) in enumerate(shapes)
    ]
    low, high = picture.min(axis=0), picture.max(axis=0)
    ring = _CIRCLE * 0.3
    foot = np.concatenate([ring, np.zeros((10, 1))], axis=1) + np.array([at[0], at[1], 0.0])
    shadows = [hull(camera.project(foot)[0])]
    if light.sun is not None:
        sun = np.array(light.sun)
        fallen = points - sun * (points[:, 2:] / sun[2])
        shadows.append(hull(camera.project(fallen)[0]))
    box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return Drawn(ident, 1, float(depth.mean()), polygons, hull(picture), box, shadows, [])


def _limb(top: tuple[float, float], foot: tuple[float, float], half: float) -> Floats:
    """Return a limb from `top` to `foot` as a quad, tapering a little."""
    (x0, z0), (x1, z1) = top, foot
    return np.array(
        [(x0 - half, z0), (x0 + half, z0), (x1 + half * 0.8, z1), (x1 - half * 0.8, z1)]
    )
