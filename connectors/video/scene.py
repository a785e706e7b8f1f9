"""A rendered traffic scene with exact truth: a seed in, an H.264 file and every box out.

The demonstration needs a video whose answers are known and that no licence binds. What a seed
fixes: road and camera, ground and buildings, light, and every car and person. The picture stays
sparse (at most eight objects), with shadows, noise and things that hide each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from foveal.connectors.video.scene_drawn import CLASSES
from foveal.connectors.video.scene_paint import Object, Scene
from foveal.connectors.video.scene_world import HEIGHT, WIDTH
from foveal.errors import DataError, OperationalError


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Exact boxes of a rendered video, by frame. All arrays [n]; boxes in pixels.

    `frame` int64, `kind` int32 (index into `classes`), `xmin`..`ymax` and `visible` float32,
    `ident` int64: the same for one object in all its frames, those after an absence too.
    Only objects with at least half of them visible and in the picture are listed.
    """

    frames: int
    fps: float
    frame: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int32]
    xmin: npt.NDArray[np.float32]
    ymin: npt.NDArray[np.float32]
    xmax: npt.NDArray[np.float32]
    ymax: npt.NDArray[np.float32]
    visible: npt.NDArray[np.float32]
    ident: npt.NDArray[np.int64]
    classes: tuple[str, ...] = CLASSES

    def table(self) -> pa.Table:
        """Return the truth as columns frame, class (text), xmin .. ymax, visible, ident."""
        names = np.array(self.classes, dtype=object)[self.kind]
        columns = {
            "frame": pa.array(self.frame),
            "class": pa.array(names.tolist(), pa.string()),
            "xmin": pa.array(self.xmin),
            "ymin": pa.array(self.ymin),
            "xmax": pa.array(self.xmax),
            "ymax": pa.array(self.ymax),
            "visible": pa.array(self.visible),
            "ident": pa.array(self.ident),
        }
        table = pa.table(columns)  # pyright: ignore[reportUnknownMemberType]
        return table.replace_schema_metadata(
            {"foveal.frames": str(self.frames), "foveal.fps": repr(self.fps)}
        )

    def save(self, path: str | Path) -> None:
        """Write the truth as Parquet."""
        pq.write_table(self.table(), str(path))  # pyright: ignore[reportUnknownMemberType]

    @classmethod
    def load(cls, path: str | Path) -> Truth:
        """Read what `save` wrote.

        Raises:
            OperationalError: 58P01, there is no such file.
            DataError: 22000, the file is not a scene's truth.
        """
        if not Path(path).exists():
            raise OperationalError(f'truth file "{path}" does not exist', sqlstate="58P01")
        table = pq.read_table(str(path))  # pyright: ignore[reportUnknownMemberType]
        kept = table.schema.metadata or {}
        if b"foveal.frames" not in kept:
            raise DataError(
                f'"{path}" holds no scene truth',
                hint="write it with Truth.save, which also keeps the number of frames",
            )
        known = {name: k for k, name in enumerate(CLASSES)}

        def column(name: str) -> npt.NDArray[np.float32]:
            return table.column(name).to_numpy().astype(np.float32)

        return cls(
            frames=int(kept[b"foveal.frames"]),
            fps=float(kept[b"foveal.fps"]),
            frame=table.column("frame").to_numpy().astype(np.int64),
            kind=np.array([known[str(c)] for c in table.column("class").to_pylist()], np.int32),
            xmin=column("xmin"),
            ymin=column("ymin"),
            xmax=column("xmax"),
            ymax=column("ymax"),
            visible=column("visible"),
            ident=table.column("ident").to_numpy().astype(np.int64),
        )


def truth_counts(truth: Truth, kind: str) -> npt.NDArray[np.int64]:
    """Return the number of objects of class `kind` in each frame, int64 [frames].

    Raises:
        DataError: 22023, the scene has no such class.
    """
    if kind not in truth.classes:
        raise DataError(
            f'the scene has no class "{kind}"',
            sqlstate="22023",
            hint=f"its classes are {', '.join(truth.classes)}",
        )
    chosen = truth.frame[truth.kind == truth.classes.index(kind)]
    return np.bincount(chosen, minlength=truth.frames).astype(np.int64)


def render(
    path: str | Path,
    *,
    seed: int,
    seconds: float,
    dusk: bool = False,
    fps: int = 25,
    gop: int = 50,
    progress: Callable[[int, int], None] | None = None,
) -> Truth:
    """Write the scene of `seed` as a video file and return its truth.

    H.264 by libx264 (preset veryfast), or MPEG-4 part 2 where that encoder is absent. `gop` is the
    distance of keyframes in frames. `progress(done, frames)` is called after every frame.

    Raises:
        DataError: 22023, the length or rate is not positive.
        OperationalError: 58030, the file cannot be written.
    """
    frames = round(seconds * fps)
    if frames < 1 or fps < 1 or gop < 1:
        raise DataError(
            "a scene needs at least one frame",
            sqlstate="22023",
            hint="give seconds, fps and gop above 0",
        )
    scene = Scene(seed, dusk=dusk)
    rows: list[tuple[int, Object]] = []
    try:
        with av.open(str(path), "w") as container:
            stream = _stream(container, fps, gop)
            for number in range(frames):
                if number:
                    scene.advance(1 / fps)
                picture, objects = scene.paint()
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, fps)
                _write(container, stream, frame)
                rows.extend((number, o) for o in objects if o.counts)
                if progress is not None:
                    progress(number + 1, frames)
            _write(container, stream, None)
    except (OSError, FFmpegError) as error:
        raise OperationalError(
            f'cannot write the scene to "{path}": {error}', sqlstate="58030"
        ) from error
    return truth_of(rows, frames, fps)


def _stream(container: OutputContainer, fps: int, gop: int) -> VideoStream:
    modern = "libx264" in av.codecs_available
    stream = container.add_stream(  # pyright: ignore[reportUnknownMemberType]
        "libx264" if modern else "mpeg4", rate=fps
    )
    assert isinstance(stream, VideoStream)
    stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    stream.codec_context.gop_size = gop
    if modern:
        stream.options = {"preset": "veryfast", "crf": "23"}
    else:
        stream.bit_rate = 2_500_000
    return stream


def _write(container: OutputContainer, stream: VideoStream, frame: av.VideoFrame | None) -> None:
    """Encode one frame, or with None what the encoder still holds."""
    packets = stream.encode(frame)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    container.mux(packets)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


def truth_of(rows: list[tuple[int, Object]], frames: int, fps: int) -> Truth:
    """Return the truth of painted frames; `rows` pairs a frame's number with each object."""
    boxes = np.array([o.box for _, o in rows], np.float32).reshape(-1, 4)
    return Truth(
        frames=frames,
        fps=float(fps),
        frame=np.array([n for n, _ in rows], np.int64),
        kind=np.array([o.kind for _, o in rows], np.int32),
        xmin=boxes[:, 0].copy(),
        ymin=boxes[:, 1].copy(),
        xmax=boxes[:, 2].copy(),
        ymax=boxes[:, 3].copy(),
        visible=np.array([o.visible for _, o in rows], np.float32),
        ident=np.array([o.ident for _, o in rows], np.int64),
    )
