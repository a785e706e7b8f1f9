"""The rendered scene's vehicles: a seeded look and a place in, shaded polygons out.

A vehicle is a set of flat faces in its own measure (x ahead, y to its left, z up, metres). Boxes
come from the points that are drawn, so they are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from foveal.connectors.video.scene_camera import Camera, Floats
from foveal.connectors.video.scene_drawn import Colour, Drawn, Lamp, Light, hull
from foveal.connectors.video.scene_world import vehicle_length

PAINTS: tuple[Colour, ...] = (
    (225, 226, 228), (176, 180, 184), (52, 54, 58), (172, 30, 34), (34, 66, 140), (88, 92, 98),
    (226, 186, 40), (30, 92, 62), (122, 84, 58), (92, 150, 190), (200, 96, 30), (240, 240, 236),
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """A vehicle's faces: `points` [n, 3] cut at `cuts`; normals and centres [f, 3]; by level."""

    points: Floats
    cuts: tuple[int, ...]
    normals: Floats
    centres: Floats
    colours: tuple[Colour, ...]
    levels: tuple[tuple[int, float], ...]
    footprint: Floats
    front: Floats
    rear: Floats


class _Builder:
    """Collects faces of one vehicle."""

    def __init__(self) -> None:
        self.faces: list[tuple[Floats, Floats, Colour, tuple[int, float]]] = []

    def face(
        self, corners: Floats, outward: Floats, colour: Colour, level: tuple[int, float]
    ) -> None:
        a, b, c = corners[0], corners[1], corners[2]
        normal = np.cross(b - a, c - a)
        normal = normal / max(float(np.linalg.norm(normal)), 1e-9)
        if float(normal @ outward) < 0:
            normal = -normal
        self.faces.append((corners, normal, colour, level))

    def block(
        self,
        bottom: tuple[float, float, float, float],
        top: tuple[float, float, float, float],
        colour: Colour,
        level: tuple[int, float],
        glass: Colour | None = None,
    ) -> None:
        """Add a block with a flat bottom and top: each is (xmin, xmax, half width, z)."""
        low, high = (
            [np.array(p) for p in ((x0, -w, z), (x1, -w, z), (x1, w, z), (x0, w, z))]
            for x0, x1, w, z in (bottom, top)
        )
        middle = sum(low + high) / 8
        for i in range(4):
            j = (i + 1) % 4
            corners = np.stack([low[i], low[j], high[j], high[i]])
            outward = corners.mean(axis=0) - middle
            self.face(corners, outward, colour, level)
            if glass is not None:
                inset = _inset(corners, 0.09, 0.14 if i % 2 else 0.18)
                self.face(inset, outward, glass, (level[0], level[1]))
        self.face(np.stack(high), np.array([0.0, 0.0, 1.0]), colour, level)

    def mesh(self, length: float, width: float) -> Mesh:
        order = sorted(range(len(self.faces)), key=lambda i: self.faces[i][3])
        faces = [self.faces[i] for i in order]
        cuts = np.cumsum([0] + [len(f[0]) for f in faces])
        x, y = length / 2, width / 2
        return Mesh(
            np.concatenate([f[0] for f in faces]),
            tuple(int(c) for c in cuts),
            np.stack([f[1] for f in faces]),
            np.stack([f[0].mean(axis=0) for f in faces]),
            tuple(f[2] for f in faces),
            tuple(f[3] for f in faces),
            np.array([(-x, -y, 0.0), (x, -y, 0.0), (x, y, 0.0), (-x, y, 0.0)]),
            np.array([(x, -y * 0.7, 0.65), (x, y * 0.7, 0.65)]),
            np.array([(-x, -y * 0.75, 0.75), (-x, y * 0.75, 0.75)]),
        )


def _inset(corners: Floats, side: float, edge: float) -> Floats:
    """Return a quad inside the quad (bottom left, bottom right, top right, top left)."""
    a, b, c, d = corners
    low0, high0 = a + (d - a) * edge, a + (d - a) * (1 - edge)
    low1, high1 = b + (c - b) * edge, b + (c - b) * (1 - edge)
    return np.stack(
        [
            low0 + (low1 - low0) * side,
            low0 + (low1 - low0) * (1 - side),
            high0 + (high1 - high0) * (1 - side),
            high0 + (high1 - high0) * side,
        ]
    )


def vehicle_mesh(look: int) -> Mesh:
    """Return the vehicle of a look seed: saloon, hatchback, estate, van or truck, in a colour."""
    rng = np.random.default_rng(look)
    kind, length = look % 10, vehicle_length(look)
    half, width = length / 2, 1.8 * rng.uniform(0.95, 1.06)
    paint = PAINTS[int(rng.integers(len(PAINTS)))]
    glass: Colour = (44, 54, 64)
    parts = _Builder()
    floor, w = 0.28, width / 2
    if kind >= 8:
        width, w = 2.4, 1.2
        cab, height = rng.uniform(1.8, 2.2), rng.uniform(2.6, 3.1)
        cargo = PAINTS[int(rng.integers(len(PAINTS)))] if rng.random() < 0.6 else (230, 230, 226)
        parts.block((-half, half, w * 0.9, 0.45), (-half, half, w * 0.9, 0.8), (60, 60, 62), (0, 0))
        box = (-half, half - cab - 0.25, w)
        parts.block((*box, 0.8), (*box, height), cargo, (1, -1.0))
        parts.block((half - cab, half, w, 0.5), (half - cab, half, w, 1.3), paint, (1, 1.0))
        upper = (half - cab, half - 0.35, w * 0.94, 2.2)
        parts.block((half - cab, half, w, 1.3), upper, paint, (1, 1.1), glass)
    elif kind == 7:
        height = rng.uniform(1.95, 2.2)
        parts.block((-half, half, w, floor), (-half, half, w, 1.0), paint, (0, 0))
        roof = (-half + 0.05, half - 1.35, w * 0.93, height)
        parts.block((-half, half - 0.75, w, 1.0), roof, paint, (2, 0), glass)
    else:
        waist, height = rng.uniform(0.82, 0.95), rng.uniform(1.4, 1.55)
        if kind in (3, 6):
            waist, height = waist + 0.12, height + 0.22
        parts.block((-half, half, w, floor), (-half, half, w * 0.97, waist), paint, (0, 0))
        back = {0: 0.16, 1: 0.02, 2: 0.03, 3: 0.02, 4: 0.18, 5: 0.2, 6: 0.01}[kind] * length
        hood = rng.uniform(0.22, 0.27) * length
        lower = (-half + back, half - hood, w * 0.95, waist)
        slope = 0.12 * length if back > 0.3 else 0.07 * length
        upper = (-half + back + slope, half - hood - 0.16 * length, w * 0.78, height)
        parts.block(lower, upper, paint, (2, 0), glass)
    _trim(parts, half, w, 0.62 if kind < 8 else 0.7, 0.33 if kind < 8 else 0.48)
    return parts.mesh(length, width)


def _trim(parts: _Builder, half: float, w: float, lamp: float, radius: float) -> None:
    """Add wheels, head lamps and tail lamps."""
    angles = np.linspace(0, 2 * math.pi, 11)[:-1]
    for side in (-1.0, 1.0):
        for x in (-half * 0.62, half * 0.64):
            for r, colour in ((radius, (24.0, 24.0, 26.0)), (radius * 0.5, (150.0, 152.0, 156.0))):
                rim = np.stack(
                    [
                        x + r * np.cos(angles),
                        np.full(10, side * (w + 0.01)),
                        radius + r * np.sin(angles),
                    ],
                    axis=1,
                )
                parts.face(rim, np.array([0.0, side, 0.0]), colour, (1, -0.5))
        for x, colour in (
            (half + 0.01, (236.0, 236.0, 214.0)),
            (-half - 0.01, (150.0, 24.0, 24.0)),
        ):
            y0, y1 = side * w * 0.55, side * w * 0.95
            z0, z1 = lamp, lamp + 0.17
            corners = np.array([(x, y0, z0), (x, y1, z0), (x, y1, z1), (x, y0, z1)])
            parts.face(corners, np.array([x, 0.0, 0.0]), colour, (1, -0.4))


def draw_vehicle(
    mesh: Mesh,
    ident: int,
    at: tuple[float, float],
    heading: float,
    camera: Camera,
    light: Light,
    *,
    braking: bool = False,
) -> Drawn:
    """Return the vehicle standing at world (x, y), its front turned to `heading` (radians)."""
    cos, sin = math.cos(heading), math.sin(heading)
    turn = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
    place = np.array([at[0], at[1], 0.0])
    eye = np.array([0.0, 0.0, camera.mast])
    picture, _ = camera.project(mesh.points @ turn + place)
    normals = mesh.normals @ turn
    centres = mesh.centres @ turn + place
    faces_eye = ((centres - eye) * normals).sum(axis=1) < 0
    lifts = _lifts(normals, light)
    ahead = at[0] * cos + at[1] * sin < 0  # the vehicle comes towards the camera
    order = range(len(mesh.colours))
    if any(level[0] == 1 and level[1] > 0 for level in mesh.levels):
        # A truck: of cargo and cab, the one farther from the camera is painted first.
        order = sorted(order, key=lambda i: _truck_order(mesh.levels[i], ahead))
    polygons = [
        (picture[mesh.cuts[i] : mesh.cuts[i + 1]], light.shade(mesh.colours[i], float(lifts[i])))
        for i in order
        if faces_eye[i]
    ]
    shown = np.concatenate([polygon for polygon, _ in polygons])
    outline = hull(shown)
    low, high = outline.min(axis=0), outline.max(axis=0)
    ground, depth = camera.project(mesh.footprint @ turn + place)
    shadows = [hull(_spread(ground, 1.06))]
    if light.sun is not None:
        points = mesh.points @ turn + place
        sun = np.array(light.sun)
        fallen = points - sun * (points[:, 2:] / sun[2])
        shadows.append(hull(np.concatenate([camera.project(fallen)[0], ground])))
    lamps = _vehicle_lamps(mesh, turn, place, eye, camera, braking) if light.dusk else []
    return Drawn(
        ident,
        0,
        float(depth.mean()),
        polygons,
        outline,
        (float(low[0]), float(low[1]), float(high[0]), float(high[1])),
        shadows,
        lamps,
    )


def _truck_order(level: tuple[int, float], ahead: bool) -> tuple[float, float]:
    if level[0] == 1 and abs(level[1]) >= 1:
        return 1.0, level[1] if ahead else (-3.0 if level[1] >= 1 else 0.0) + level[1] / 10
    return (0.0 if level[1] >= -0.3 else 2.0), level[1]


def _lifts(normals: Floats, light: Light) -> Floats:
    """Return the brightness factor of each face from its normal."""
    sky = 0.72 + 0.22 * normals[:, 2]
    if light.sun is None:
        return sky + 0.06 * normals[:, 0]
    return sky * 0.82 + 0.42 * np.clip(-(normals @ np.array(light.sun)), 0, None)


def _spread(points: Floats, factor: float) -> Floats:
    middle = points.mean(axis=0)
    return middle + (points - middle) * factor


def _vehicle_lamps(
    mesh: Mesh, turn: Floats, place: Floats, eye: Floats, camera: Camera, braking: bool
) -> list[Lamp]:
    """Return the lamps that face the camera, and the pool of light ahead of the vehicle."""
    lamps: list[Lamp] = []
    ahead = np.array([1.0, 0.0, 0.0]) @ turn
    front = mesh.front @ turn + place
    towards = float((front.mean(axis=0) - eye) @ ahead) < 0
    pool, depth = camera.project((front.mean(axis=0) + ahead * 3.0)[None] * (1, 1, 0))
    radius = camera.focal / float(depth[0])
    lamps.append(Lamp(float(pool[0, 0]), float(pool[0, 1]), radius * 2.0, (46, 43, 32)))
    points, depths = camera.project(front if towards else mesh.rear @ turn + place)
    for (x, y), d in zip(points, depths, strict=True):
        size = camera.focal / float(d)
        if towards:
            lamps.append(Lamp(float(x), float(y), size * 0.55, (255, 246, 208)))
        else:
            glow = (230.0, 30.0, 22.0) if braking else (120.0, 16.0, 12.0)
            lamps.append(Lamp(float(x), float(y), size * (0.4 if braking else 0.3), glow))
    return lamps
