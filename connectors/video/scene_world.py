"""The rendered scene's traffic: a seeded road with cars that follow each other and people who walk.

Cars keep their distance by the intelligent driver model and stop for people on the crossing.
Source: Treiber, Hennecke, Helbing, "Congested traffic states in empirical observations and
microscopic simulations", Phys. Rev. E 62 (2000), equations 3 and 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from foveal.connectors.video.scene_camera import Camera, Floats

WIDTH, HEIGHT = 640, 360
MOST_OBJECTS = 8
STEP = 0.04
"""Seconds per step of the simulation: finer steps change the traffic, not the picture rate."""


@dataclass(frozen=True, slots=True)
class Road:
    """A straight road in its own measure: `s` metres along it, `o` metres to its left.

    `lanes` holds (o, direction +1 or -1); `span` is the range of s that the camera sees, with a
    margin on both ends; `crossing` is the s of the zebra crossing.
    """

    x: float
    y: float
    angle: float
    lanes: tuple[tuple[float, int], ...]
    half: float
    walk: float
    crossing: float | None
    span: tuple[float, float]

    def place(self, s: float, o: float) -> tuple[float, float]:
        """Return the world x, y of a point of the road."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return self.x + s * cos - o * sin, self.y + s * sin + o * cos

    def measure(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return s and o of world points (any shape)."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return (x - self.x) * cos + (y - self.y) * sin, (y - self.y) * cos - (x - self.x) * sin


@dataclass(slots=True)
class Car:
    """A vehicle: `s` is its middle, `speed` in m/s along its lane's direction."""

    ident: int
    lane: int
    s: float
    speed: float
    wish: float
    length: float
    look: int
    braking: bool = False


@dataclass(slots=True)
class Walker:
    """A person on a way of (s, o) points; `phase` in radians drives the swing of the legs."""

    ident: int
    way: list[tuple[float, float]]
    speed: float
    look: int
    s: float
    o: float
    phase: float
    heading: float = 0.0
    waiting: bool = False


def lay_road(rng: np.random.Generator) -> tuple[Camera, Road]:
    """Return a camera and a road that lies well in its picture: no object gets too small or big."""
    for _ in range(2000):
        camera = Camera(
            WIDTH,
            HEIGHT,
            focal=rng.uniform(560, 780),
            mast=rng.uniform(5.0, 9.5),
            pitch=math.radians(rng.uniform(14, 33)),
            roll=math.radians(rng.uniform(-2, 2)),
        )
        receding = rng.random() < 0.25
        angle = rng.uniform(55, 90) if receding else rng.uniform(0, 35)
        angle = math.radians(angle * rng.choice([-1.0, 1.0]))
        per_side = int(rng.choice([1, 1, 2]))
        lane_width = rng.uniform(3.1, 3.7)
        half = per_side * lane_width + 0.4
        offsets = [(i + 0.5) * lane_width for i in range(per_side)]
        lanes = tuple([(o, -1) for o in offsets] + [(-o, 1) for o in offsets])
        walk = rng.uniform(2.0, 3.2)
        middle = camera.mast / math.tan(camera.pitch)
        x, y = rng.uniform(-2, 2), middle * rng.uniform(0.85, 1.15)
        crossing = float(rng.uniform(-4, 4)) if rng.random() < 0.7 else None
        road = Road(x, y, angle, lanes, half, walk, crossing, (0.0, 0.0))
        span = _visible_span(camera, road)
        if span is not None:
            return camera, Road(x, y, angle, lanes, half, walk, crossing, span)
    raise AssertionError("no road fits the picture")


def _visible_span(camera: Camera, road: Road) -> tuple[float, float] | None:
    """Return the range of s in the picture, or None when objects would be too small or large."""
    s = np.arange(-70.0, 70.0, 0.5)
    low, high = math.inf, -math.inf
    for o in (-road.half - road.walk, 0.0, road.half + road.walk):
        x, y = road.place(0.0, o)
        cos, sin = math.cos(road.angle), math.sin(road.angle)
        points = np.stack([x + s * cos, y + s * sin, np.zeros_like(s)], axis=1)
        picture, depth = camera.project(points)
        inside = (depth > 4) & (np.abs(picture[:, 0] - WIDTH / 2) < WIDTH / 2)
        # A standing person shows a little above and below the point where it stands.
        inside &= (picture[:, 1] > -10) & (picture[:, 1] < HEIGHT + 60)
        seen = depth[inside]
        if seen.size < 16:
            return None
        scale = camera.focal / seen
        if scale.min() < 21.5 or scale.max() > 72:
            return None
        low, high = min(low, float(s[inside][0])), max(high, float(s[inside][-1]))
    return low - 6.0, high + 6.0


@dataclass(slots=True)
class Traffic:
    """Everything that moves. `advance` is deterministic for a given generator state."""

    road: Road
    rng: np.random.Generator
    cars: list[Car] = field(default_factory=list["Car"])
    walkers: list[Walker] = field(default_factory=list["Walker"])
    time: float = 0.0
    _next: int = 0
    car_rate: float = 0.0
    walker_rate: float = 0.0
    _period: float = 0.0
    _shift: float = 0.0

    def __post_init__(self) -> None:
        """Draw the rates of arrival and let the road fill."""
        self.car_rate = self.rng.uniform(0.25, 0.75)
        self.walker_rate = self.rng.uniform(0.10, 0.28)
        self._period = self.rng.uniform(15, 50)
        self._shift = self.rng.uniform(0, 2 * math.pi)
        self.advance(25.0)
        self.time = 0.0

    def advance(self, seconds: float) -> None:
        """Move everything on by `seconds`, in steps of at most STEP."""
        steps = max(1, math.ceil(seconds / STEP - 1e-9))
        for _ in range(steps):
            self._step(seconds / steps)

    def _step(self, dt: float) -> None:
        swing = 1 + 0.9 * math.sin(2 * math.pi * self.time / self._period + self._shift)
        if self.rng.random() < self.car_rate * swing * dt:
            self._add_car()
        if self.rng.random() < self.walker_rate * (2 - swing) * dt:
            self._add_walker()
        for car, push in [(car, self._push(car)) for car in self.cars]:
            car.braking = push < -0.8 or car.speed < 0.3
            car.speed = max(0.0, car.speed + push * dt)
            car.s += self.road.lanes[car.lane][1] * car.speed * dt
        for walker in self.walkers:
            self._walk(walker, dt)
        low, high = self.road.span
        self.cars = [c for c in self.cars if low - 8 <= c.s <= high + 8]
        self.walkers = [w for w in self.walkers if w.way]
        self.time += dt

    def _push(self, car: Car) -> float:
        """Return the car's acceleration in m/s²: the intelligent driver model, bounded."""
        way = self.road.lanes[car.lane][1]
        front = car.s * way + car.length / 2
        gap, closing = math.inf, 0.0
        for other in self.cars:
            if other.lane == car.lane and other.s * way > car.s * way:
                room = other.s * way - other.length / 2 - front
                if room < gap:
                    gap, closing = room, car.speed - other.speed
        if self.road.crossing is not None and self._crossing_taken():
            room = self.road.crossing * way - 2.6 - front
            if car.speed**2 / 10 < room < gap:
                gap, closing = room, car.speed
        wanted = 2.0 + car.speed * 1.1 + car.speed * closing / (2 * math.sqrt(1.8 * 2.5))
        near = (max(wanted, 0.0) / max(gap, 0.3)) ** 2
        return max(-7.0, min(1.8, 1.8 * (1 - (car.speed / car.wish) ** 4 - near)))

    def _crossing_taken(self) -> bool:
        return any(abs(w.o) < self.road.half + 0.2 and not w.waiting for w in self.walkers)

    def _crossing_clear(self) -> bool:
        assert self.road.crossing is not None
        for car in self.cars:
            way = self.road.lanes[car.lane][1]
            ahead = (self.road.crossing - car.s) * way
            if -car.length / 2 - 2.2 < ahead < car.length / 2 + 3 + car.speed * 1.6:
                return car.speed < 0.2 and ahead > car.length / 2 + 1.6
        return True

    def _walk(self, walker: Walker, dt: float) -> None:
        s, o = walker.way[0]
        ds, do = s - walker.s, o - walker.o
        distance = math.hypot(ds, do)
        if distance < 0.08:
            walker.way.pop(0)
            if walker.way:
                turn = walker.way[0][1] - walker.o
                walker.waiting = abs(turn) > 2 * self.road.half
            return
        if walker.waiting:
            if not self._crossing_clear():
                return
            walker.waiting = False
        step = min(distance, walker.speed * dt)
        walker.s += ds / distance * step
        walker.o += do / distance * step
        walker.heading = math.atan2(do, ds)
        walker.phase += step * 4.4

    def _room(self) -> bool:
        return len(self.cars) + len(self.walkers) < MOST_OBJECTS

    def _add_car(self) -> None:
        lane = int(self.rng.integers(len(self.road.lanes)))
        look = int(self.rng.integers(1 << 31))
        wish, length = self.rng.uniform(6.0, 11.0), vehicle_length(look)
        low, high = self.road.span
        way = self.road.lanes[lane][1]
        s = low - length / 2 if way > 0 else high + length / 2
        blocked = any(
            c.lane == lane and abs(c.s - s) < (c.length + length) / 2 + 4 for c in self.cars
        )
        if self._room() and not blocked:
            self.cars.append(Car(self._ident(), lane, s, wish * 0.9, wish, length, look))

    def _add_walker(self) -> None:
        road, rng = self.road, self.rng
        low, high = road.span
        side = float(rng.choice([-1.0, 1.0]))
        inner, outer = road.half + 0.5, road.half + road.walk - 0.3
        o = side * rng.uniform(inner, outer)
        s = low if rng.random() < 0.5 else high
        way = [(high if s == low else low, o)]
        if road.crossing is not None and rng.random() < 0.55:
            at = road.crossing + rng.uniform(-1.2, 1.2)
            across = -side * rng.uniform(inner, outer)
            way = [(at, o), (at, across), (low if rng.random() < 0.5 else high, across)]
        speed, look = rng.uniform(1.0, 1.7), int(rng.integers(1 << 31))
        phase, pair = rng.uniform(0, 6.3), rng.random() < 0.25
        if self._room():
            self.walkers.append(Walker(self._ident(), way, speed, look, s, o, phase))
        if pair and self._room():
            # A second person on the same way, a good step behind: walking together.
            behind = s + rng.uniform(0.9, 1.6) * (-1 if s == low else 1)
            other = Walker(self._ident(), list(way), speed, look // 2, behind, o, phase + 1)
            self.walkers.append(other)

    def _ident(self) -> int:
        self._next += 1
        return self._next


def vehicle_length(look: int) -> float:
    """Return the length in metres of the vehicle drawn for this `look` seed."""
    kind = look % 10
    base = (4.4, 4.0, 4.6, 4.8, 4.3, 4.7, 4.2, 5.2, 7.0, 8.2)[kind]
    return base * (0.94 + 0.12 * ((look >> 8) % 64) / 64)
