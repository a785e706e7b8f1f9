"""Peak memory of a scan over a long clip: 20 minutes of 720p, read whole with the demo detector.

    python benches/memory.py [--quick] [--json]

The clip is drawn here (a gradient with moving boxes: cheap to make, ordinary to decode). The
resident set of this process and its children is sampled every 50 ms while foveal counts the objects
of every frame. `ours` is the growth over what the process holds before, `theirs` the bytes of all
decoded frames, which is what holding the clip would take.
"""

from __future__ import annotations

import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import av.video.stream
import numpy as np
import psutil
from report import arguments, report

import foveal

WIDTH, HEIGHT, RATE = 1280, 720, 10
MEBIBYTE = 2**20


def draw(path: Path, seconds: int) -> int:
    """Write the clip and return its number of frames."""
    frames = seconds * RATE
    ramp = np.linspace(40, 200, WIDTH, dtype=np.uint8)
    ground = np.repeat(np.repeat(ramp[None, :, None], HEIGHT, 0), 3, 2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        assert isinstance(stream, av.video.stream.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = 10 * RATE
        stream.options = {"preset": "ultrafast", "crf": "30"}
        for number in range(frames):
            picture = ground.copy()
            for lane in range(4):
                x = (number * (5 + 3 * lane) + 300 * lane) % (WIDTH - 160)
                picture[120 + 140 * lane : 200 + 140 * lane, x : x + 150] = (20 * lane, 90, 160)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return frames


class PeakMemory:
    """Samples the resident set of this process and its children, in bytes, while it is entered."""

    def __enter__(self) -> PeakMemory:
        """Note what is held now, and begin."""
        self._process = psutil.Process()
        self._ended = threading.Event()
        self.before = self.peak = self._resident()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            self.peak = max(self.peak, self._resident())

    def _resident(self) -> int:
        total = 0
        for process in (self._process, *self._process.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total


def main() -> None:
    options = arguments(__doc__ or "")
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "long.mp4"
        frames = draw(clip, 60 if options.quick else 1200)
        with foveal.connect(Path(folder) / "memory.db") as con, PeakMemory() as memory:
            con.execute(f"CREATE VIDEO TABLE v FROM '{clip}' WITH (detector = 'demo')")
            began = time.perf_counter()
            con.execute("SELECT class, count(*) FROM v GROUP BY class").fetchall()
            seconds = time.perf_counter() - began
            q = con.last_query()
    assert q is not None
    growth = (memory.peak - memory.before) / MEBIBYTE
    held = frames * WIDTH * HEIGHT * 3 / MEBIBYTE
    report(
        "memory",
        [
            {
                "case": f"scan of {frames} frames, {WIDTH}x{HEIGHT}",
                "peer": "all frames held",
                "ours": round(growth, 1),
                "theirs": round(held, 1),
                "ratio": round(held / growth, 2) if growth > 0 else None,
                "spread": None,
                "unit": "MiB",
            }
        ],
        details=[
            {
                "frames": frames,
                "calls": q.detector_calls,
                "seconds": round(seconds, 2),
                "before MiB": round(memory.before / MEBIBYTE, 1),
                "peak MiB": round(memory.peak / MEBIBYTE, 1),
            }
        ],
        quiet=options.json,
    )


if __name__ == "__main__":
    main()
