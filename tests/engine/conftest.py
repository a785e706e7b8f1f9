"""Tiny videos and a tiny detector: three rendered clips, a pooling network that sees colours.

The detector averages 4 x 4 pixels and calls red cells cars, green ones people, blue ones buses, so
that what it finds differs from frame to frame and needs no asset.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from foveal.engine.session import Session

WIDTH, HEIGHT = 96, 64
CLASSES = ("car", "person", "bus")
OPTIONS = {"classes": ",".join(CLASSES), "iou": 0.3, "max_count": 6}

Picture = npt.NDArray[np.uint8]
OpenToy = Callable[..., Session]


@dataclass(frozen=True, slots=True)
class Toy:
    """Where the clips and the detector are. `frames` counts each clip's frames."""

    folder: Path
    detector: Path
    clips: dict[str, Path]
    frames: dict[str, int]

    def create(self, name: str = "street", *clips: str, **options: object) -> str:
        """Return the CREATE VIDEO TABLE statement over some clips (all, if none is named)."""
        chosen = [self.clips[c] for c in clips or self.clips]
        sources = ", ".join(f"'{path}'" for path in chosen)
        given = {"detector": str(self.detector), **OPTIONS, **options}
        listed = ", ".join(f"{k} = '{v}'" if isinstance(v, str) else f"{k} = {v}"
                           for k, v in given.items())  # fmt: skip
        return f"CREATE VIDEO TABLE {name} FROM {sources} WITH ({listed})"


def picture(number: int, seed: int) -> Picture:
    """Return one frame: squares that move by a cell every other frame, none in some stretches."""
    image = np.full((HEIGHT, WIDTH, 3), 12, np.uint8)
    if (number // 6 + seed) % 4 == 3:
        return image
    objects = np.random.default_rng(seed)
    for k in range(5):
        kind = int(objects.integers(0, 3))
        lane = 2 + 12 * k
        begin = int(objects.integers(0, 40))
        length = int(objects.integers(15, 60))
        if not begin <= number < begin + length:
            continue
        x = 4 * ((number - begin) // 2 % ((WIDTH - 8) // 4))
        level = 150 + 20 * k + (number * 7) % 16
        image[lane // 4 * 4 : lane // 4 * 4 + 8, x : x + 8, kind] = min(level, 250)
    return image


def write_clip(path: Path, frames: int, seed: int, stamps: Callable[[int], int] | None = None,
               gop: int = 12) -> None:  # fmt: skip
    """Render a clip at 10 frames a second, or with frame n at `stamps(n)` milliseconds."""
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(  # pyright: ignore[reportUnknownMemberType]
            "libx264", rate=10, options={"crf": "8", "preset": "ultrafast", "g": str(gop)}
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, seed), format="rgb24")
            frame.pts = stamps(number) if stamps is not None else number * 100
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_detector(path: Path) -> None:
    """Write the network: average pooling as a heat map, and boxes of 16 x 16 pixels."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper, kind = onnx.helper, onnx.numpy_helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("AveragePool", ["images"], ["heatmap"], kernel_shape=[4, 4],
                         strides=[4, 4]),
        helper.make_node("Slice", ["heatmap", "from", "to", "axis"], ["two"]),
        helper.make_node("Mul", ["two", "nought"], ["zero"]),
        helper.make_node("Add", ["zero", "side"], ["size"]),
        helper.make_node("Add", ["zero", "half"], ["offset"]),
    ]  # fmt: skip
    constants = [
        numpy_helper.from_array(np.array([0], np.int64), "from"),
        numpy_helper.from_array(np.array([2], np.int64), "to"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
        numpy_helper.from_array(np.array([0], np.float32), "nought"),
        numpy_helper.from_array(np.array([16], np.float32), "side"),
        numpy_helper.from_array(np.array([0.5], np.float32), "half"),
    ]
    rows, columns = HEIGHT // 4, WIDTH // 4
    graph = helper.make_graph(
        nodes,
        "pool",
        [helper.make_tensor_value_info("images", kind, ["n", 3, HEIGHT, WIDTH])],
        [
            helper.make_tensor_value_info("heatmap", kind, ["n", 3, rows, columns]),
            helper.make_tensor_value_info("size", kind, ["n", 2, rows, columns]),
            helper.make_tensor_value_info("offset", kind, ["n", 2, rows, columns]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Return the rendered clips, the last of variable frame rate, and the detector."""
    folder = tmp_path_factory.mktemp("toy")
    frames = {"a.mp4": 90, "b.mp4": 60, "v.mkv": 40}
    write_clip(folder / "a.mp4", 90, 1)
    write_clip(folder / "b.mp4", 60, 2)
    write_clip(folder / "v.mkv", 40, 3, lambda n: 90 * n + 37 * (n % 3) + (5000 if n > 25 else 0))
    write_detector(folder / "pool.onnx")
    clips = {name: folder / name for name in frames}
    return Toy(folder, folder / "pool.onnx", clips, frames)


@pytest.fixture
def open_toy(toy: Toy) -> Iterator[OpenToy]:
    """Return a function that opens a session with the table `street`, closed after the test."""
    opened: list[Session] = []

    def open_session(database: str | Path = ":memory:", *, create: bool = True,
                     read_only: bool = False, **settings: Any) -> Session:  # fmt: skip
        given = {"isolate_decode": False, "verify_plans": True, "threads": 1, **settings}
        session = Session(database, read_only=read_only, settings=given)
        opened.append(session)
        if create:
            session.execute(toy.create())
        return session

    yield open_session
    for session in opened:
        session.close()
