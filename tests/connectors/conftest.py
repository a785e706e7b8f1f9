"""Small rendered clips of every awkward kind, made once per run, and their true pictures."""

import random
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.error import FFmpegError

N = 60
WIDTH, HEIGHT = 96, 64


def picture(i: int) -> npt.NDArray[np.uint8]:
    """A moving gradient with a moving block: no two frames are alike."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    out = np.stack([x * 2 + i * 3, y * 3 + i * 5, x + y + i * 7], -1).astype(np.uint8)
    top, left = (i * 3) % (HEIGHT - 12), (i * 5) % (WIDTH - 12)
    out[top : top + 10, left : left + 10] = (255, i * 4 % 256, 0)
    return out


@dataclass(frozen=True)
class Recipe:
    """How to render a clip. `times`: milliseconds; `start`: first stamp in 1/25 s."""

    suffix: str
    codec: str = "libx264"
    frames: int = N
    gop: int = 12
    bframes: int = 0
    start: int = 0
    vfr: bool = False
    pix_fmt: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    container: Mapping[str, str] = field(default_factory=dict[str, str])


OPEN_GOP = {"x264-params": "open-gop=1:scenecut=0:keyint=12:min-keyint=12:b-adapt=0"}
LONG = 300

RECIPES: Mapping[str, Recipe] = {
    "cfr": Recipe(".mp4"),
    "bframes": Recipe(".mp4", bframes=3),
    "vfr": Recipe(".mkv", bframes=2, vfr=True),
    "vfr_mp4": Recipe(".mp4", bframes=2, vfr=True),
    "start": Recipe(".mp4", bframes=2, start=500),
    "start_ts": Recipe(".ts", bframes=2, start=500),
    "long_gop": Recipe(".mp4", gop=1000, bframes=3),
    "open_gop": Recipe(".mp4", bframes=3, options=OPEN_GOP),
    "open_gop_mkv": Recipe(".mkv", bframes=3, options=OPEN_GOP),
    "open_gop_ts": Recipe(".ts", bframes=3, options=OPEN_GOP),
    "refresh": Recipe(".mp4", frames=LONG, options={"x264-params": "intra-refresh=1:keyint=25"}),
    "quick": Recipe(".mp4", frames=LONG, bframes=3),
    "quick_open_ts": Recipe(".ts", frames=LONG, bframes=3, options=OPEN_GOP),
    "mpeg4_avi": Recipe(".avi", "mpeg4", bframes=2),
    "msmpeg4_avi": Recipe(".avi", "msmpeg4", frames=LONG),
    "h264_avi": Recipe(".avi", bframes=2),
    "mjpeg_avi": Recipe(".avi", "mjpeg", pix_fmt="yuvj420p"),
    "mpeg_ps": Recipe(".mpg", "mpeg2video", bframes=2),
    "raw_h264": Recipe(".h264", bframes=2),
    "wmv": Recipe(".wmv", "wmv2"),
    "flv": Recipe(".flv", bframes=2),
    "faststart": Recipe(".mp4", bframes=2, container={"movflags": "faststart"}),
}


def render(path: Path, recipe: Recipe) -> Path:
    """Encode the recipe's pictures; frame i shows `picture(i)`."""
    rng = random.Random(5)
    base = Fraction(1, 1000) if recipe.vfr else Fraction(1, 25)
    clock = recipe.start
    options: dict[str, str] = {**recipe.options, "threads": "1"}
    if recipe.codec == "libx264":
        options |= {"bf": str(recipe.bframes), "preset": "veryfast", "sc_threshold": "0"}
    with av.open(str(path), "w", options=dict(recipe.container)) as container:
        stream: Any = container.add_stream(recipe.codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, recipe.pix_fmt
        stream.options = options
        stream.codec_context.time_base = base
        stream.codec_context.gop_size = recipe.gop
        if recipe.codec in ("mpeg4", "mpeg2video"):
            stream.codec_context.max_b_frames = recipe.bframes
        for i in range(recipe.frames):
            frame = av.VideoFrame.from_ndarray(picture(i), format="rgb24")
            frame.pts, frame.time_base = clock, base
            clock += rng.choice([20, 33, 40, 250]) if recipe.vfr else 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def straight(path: Path) -> list[int]:
    """Checksums of the pictures as a plain loop over the file gives them: the reference."""
    out: list[int] = []
    with av.open(str(path)) as opened:
        container: Any = opened
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        packets: Iterator[Any] = container.demux(stream)
        for _ in range(10_000):
            try:
                packet = next(packets, None)
                if packet is None:
                    return out
                decoded: list[Any] = stream.decode(packet)
                out += [zlib.crc32(f.to_ndarray(format="rgb24").data) for f in decoded]
            except FFmpegError:
                continue
    raise AssertionError("the file has no end")


ClipOf = Callable[[str], Path]


@pytest.fixture(scope="session")
def clip_of(tmp_path_factory: pytest.TempPathFactory) -> ClipOf:
    """A function from a recipe's name to its file, rendered at first use."""
    folder = tmp_path_factory.mktemp("clips")
    made: dict[str, Path] = {}

    def of(name: str) -> Path:
        if name not in made:
            made[name] = render(folder / (name + RECIPES[name].suffix), RECIPES[name])
        return made[name]

    return of


@pytest.fixture
def recipes() -> Mapping[str, Recipe]:
    return RECIPES


@pytest.fixture
def straight_of() -> Callable[[Path], list[int]]:
    return straight


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test begins with cold caches."""
    cache = tmp_path / "cache-dir"
    monkeypatch.setenv("FOVEAL_CACHE_DIR", str(cache))
    return cache
