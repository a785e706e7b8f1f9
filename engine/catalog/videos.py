"""A video table at work: its open videos, its detector, and what is known of its frames."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foveal.engine.cache.artifacts import ArtifactStore
from foveal.engine.cache.profiles import Profiles
from foveal.engine.cache.proxies import ProxyStore
from foveal.engine.cache.store import SegmentStore
from foveal.engine.cache.thumbnails import ThumbnailStore
from foveal.engine.catalog.definitions import ListedVideo, VideoDefinition
from foveal.engine.relations import FRAMES, Column, assemble, constant, handles
from foveal.errors import DataError, OperationalError, ProgrammingError, Span, did_you_mean
from foveal.planner.parse.statement import CreateVideoTable
from foveal.planner.protocols import (
    CancelCheck,
    DecodeCounters,
    Detector,
    DetectorInfo,
    Video,
    VideoFacts,
    VideoTable,
)

if TYPE_CHECKING:
    from foveal.connectors.video.source import VideoFile

Positions = npt.NDArray[np.int64]
"""Places in a table's frame order: its videos' frames one after the other."""

DEFAULT_MAX_COUNT = 20
TABLE_OPTIONS = {
    "detector": "the detector: a name (yolox_nano, demo), or an .onnx file",
    "max_count": "most objects of a frame that counts are bounded by (K)",
    "tracker": "what gives objects their track ids: kalman, linked",
}


class Storage:
    """What one database has paid for: detections, derived arrays, thumbnails, measured speeds."""

    def __init__(self, folder: Path | None, *, read_only: bool) -> None:
        """Open the folder beside the database; None for a temporary one."""
        from foveal.connectors.video.thumbnails import PATH

        self.detections = SegmentStore(folder, read_only=read_only)
        self.artifacts = ArtifactStore(self.detections.manifest)
        self.proxies = ProxyStore(self.artifacts)
        self.thumbnails = ThumbnailStore(self.detections.manifest, PATH)
        self.profiles = Profiles(self.detections.manifest)

    def close(self) -> None:
        """Close the store."""
        self.detections.close()


def asset_roots() -> list[Path]:
    """Return the folders in which relative names are looked for after the working directory."""
    listed = os.environ.get("FOVEAL_ASSETS", "")
    return [Path(p) for p in listed.split(os.pathsep) if p]


def create_definition(statement: CreateVideoTable, *, threads: int, device: str) -> VideoDefinition:
    """Return the definition that a CREATE VIDEO TABLE asks for; its files and detector exist.

    Raises:
        ProgrammingError: 42704, an option or detector is not known.
        DataError: 22023, an option's value is wrong.
        OperationalError: 58P01 or 58030, a file is missing or is no video.
    """
    from foveal.udfs.detectors import OPTIONS

    known = {**TABLE_OPTIONS, **OPTIONS}
    for name in statement.options:
        if name not in known:
            raise ProgrammingError(
                f'video tables have no option "{name}"',
                sqlstate="42704",
                span=statement.option_spans[name][0],
                hint=did_you_mean(name, known) or "there are " + ", ".join(sorted(known)),
            )
    spec = str(statement.options.get("detector", ""))
    if not spec:
        raise ProgrammingError(
            "a video table needs a detector",
            sqlstate="42601",
            span=statement.name_span,
            hint="add WITH (detector = 'yolox_nano'); 'demo' knows only foveal's rendered scene",
        )
    max_count = statement.options.get("max_count", DEFAULT_MAX_COUNT)
    if isinstance(max_count, bool) or not isinstance(max_count, int | float) or max_count < 1:
        raise _bad_option(statement, "max_count", "give a whole number of objects from 1 up")
    tracker = str(statement.options.get("tracker", "kalman"))
    from foveal.udfs.tracking import TRACKERS

    if tracker not in TRACKERS:
        raise _bad_option(statement, "tracker", "there are " + ", ".join(TRACKERS))
    options = {k: v for k, v in statement.options.items() if k not in TABLE_OPTIONS}
    try:
        videos = list_videos(statement.sources)
    except OperationalError as error:
        for source, span in zip(statement.sources, statement.source_spans, strict=True):
            if error.span is None and f'"{source}"' in error.message:
                error.span = span
        raise
    try:
        detector = load_detector(spec, options, threads=threads, device=device)
    except (ProgrammingError, DataError, OperationalError) as error:
        if error.span is None and "detector" in statement.option_spans:
            named = next((n for n in options if f"for {n}:" in error.message), "detector")
            error.span = statement.option_spans[named][1]
        raise
    return VideoDefinition(
        statement.name,
        statement.sources,
        {**options, "detector": spec},
        int(max_count),
        tracker,
        tuple(videos),
        detector.info,
        file_stamp(detector.info),
    )


def _bad_option(statement: CreateVideoTable, name: str, hint: str) -> DataError:
    span: Span = statement.option_spans[name][1]
    return DataError(
        f'invalid value for {name}: "{statement.options[name]}"',
        sqlstate="22023",
        span=span,
        hint=hint,
    )


def list_videos(sources: Sequence[str]) -> list[ListedVideo]:
    """Return the files that the patterns name now, each checked to be a video."""
    from foveal.connectors.video.source import open_videos

    found = open_videos(sources, roots=asset_roots())
    for video in found:
        _ = video.index  # a file that is no video is refused when the table is made
    return [ListedVideo(video.name, str(video.path)) for video in found]


def load_detector(
    spec: str, options: dict[str, str | int | float | bool], *, threads: int, device: str
) -> Detector:
    """Return the loaded detector, found through the assets' search order."""
    from foveal.connectors import assets
    from foveal.udfs.detectors import load

    return load(spec, options=options, resolve=assets.resolve, threads=threads, device=device)


def file_stamp(info: DetectorInfo) -> tuple[str, int, int] | None:
    """Return (path, bytes, mtime_ns) of the detector's file, None where it has none."""
    if not info.path or not Path(info.path).is_file():
        return None
    stat = Path(info.path).stat()
    return info.path, stat.st_size, stat.st_mtime_ns


class LiveTable:
    """One video table of a session: opens its videos and detector when they are first needed."""

    def __init__(
        self,
        definition: VideoDefinition,
        storage: Storage,
        *,
        isolate: bool,
        threads: int,
        device: str,
        notice: Callable[[str], None],
    ) -> None:
        """Open nothing yet."""
        self.definition = definition
        self.storage = storage
        self._isolate = isolate
        self.threads = threads
        self.device = device
        self._notice = notice
        self._hashes: list[str] = []

    def under(self, definition: VideoDefinition, detector: Detector) -> LiveTable:
        """Return the same videos as another, loaded detector sees them."""
        other = LiveTable(
            definition,
            self.storage,
            isolate=self._isolate,
            threads=self.threads,
            device=self.device,
            notice=self._notice,
        )
        other.__dict__.update(videos=self.videos, detector=detector)
        other._hashes = self._hashes
        return other

    def stale(self) -> bool:
        """Whether a file that was opened is another one by now."""
        opened = self.__dict__.get("videos")
        if opened is None:
            return False
        return any(not video.path.is_file() or video.changed() for video in opened) or (
            [video.content_hash for video in opened] != self._hashes
        )

    @property
    def name(self) -> str:
        """The table's name as it was written."""
        return self.definition.name

    @cached_property
    def info(self) -> DetectorInfo:
        """The detector's facts; read again when its file has changed since the table was made."""
        stamp = self.definition.detector_file
        if stamp is not None and file_stamp(self.definition.detector) != stamp:
            self._notice(
                f'the detector of "{self.name}" has changed since the table was made; '
                "stored detections of the old one are not used"
            )
            return self.detector.info
        return self.definition.detector

    @cached_property
    def detector(self) -> Detector:
        """The loaded detector."""
        import time

        begin = time.perf_counter()
        spec = str(self.definition.options["detector"])
        options = {k: v for k, v in self.definition.options.items() if k != "detector"}
        loaded = load_detector(spec, options, threads=self.threads, device=self.device)
        self.storage.profiles.started(loaded.info.key, time.perf_counter() - begin)
        return loaded

    @cached_property
    def videos(self) -> list[VideoFile]:
        """The open videos, in the table's order."""
        from foveal.connectors.video.source import VideoFile

        found: list[VideoFile] = []
        for listed in self.definition.videos:
            if not Path(listed.path).is_file():
                raise OperationalError(
                    f'video "{listed.name}" of "{self.name}" is gone: {listed.path}',
                    sqlstate="58P01",
                    hint=f"put the file back, or REFRESH VIDEO TABLE {self.name}",
                )
            found.append(VideoFile(Path(listed.path), listed.name, isolate=self._isolate))
        # The hash also names how the frames are numbered, which damage found later may change.
        self._hashes = [video.content_hash for video in found]
        for video in found:
            for first, last in video.index.skipped:
                self._notice(
                    f'video "{video.name}": {first:.1f} s to {last:.1f} s cannot be decoded; '
                    "its frames are in no count"
                )
        return found

    @cached_property
    def starts(self) -> Positions:
        """int64 [videos + 1]: the first position of each video, then the number of frames."""
        counts = [video.index.frames for video in self.videos]
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @property
    def frames(self) -> int:
        """Frames of all videos."""
        return int(self.starts[-1])

    def split(self, positions: Positions) -> list[tuple[int, Positions]]:
        """Return (video, its frame numbers) for sorted positions, videos without any left out."""
        out: list[tuple[int, Positions]] = []
        for i in range(len(self.videos)):
            low, high = np.searchsorted(positions, self.starts[i : i + 2])
            if high > low:
                out.append((i, positions[low:high] - self.starts[i]))
        return out

    def processed(self) -> npt.NDArray[np.bool_]:
        """Return bool [frames]: True where the detections are stored."""
        parts = [
            self.storage.detections.processed(v.content_hash, self.info.key, v.index.frames)
            for v in self.videos
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.bool_)

    def thumbnailed(self) -> npt.NDArray[np.bool_]:
        """Return bool [frames]: True where the thumbnails are stored."""
        parts = [self.storage.thumbnails.kept(v.content_hash, v.index.frames) for v in self.videos]
        return np.concatenate(parts) if parts else np.zeros(0, np.bool_)

    def facts(self) -> VideoTable:
        """Return what the planner may know of the table."""
        from foveal.udfs.tracking import TRACKERS, frame_rate, hits_of

        processed, thumbnailed = self.processed(), self.thumbnailed()
        facts: list[VideoFacts] = []
        for i, video in enumerate(self.videos):
            index = video.index
            keys = max(int(index.is_key.sum()), 1)
            facts.append(
                VideoFacts(
                    video.name,
                    index.frames,
                    float(index.ts[-1]) if index.frames else 0.0,
                    index.width,
                    index.height,
                    index.frames / keys,
                    int(processed[self.starts[i] : self.starts[i + 1]].sum()),
                    int(thumbnailed[self.starts[i] : self.starts[i + 1]].sum()),
                    hits_of(frame_rate(index.ts)),
                )
            )
        hashes = {v.content_hash: f for v, f in zip(self.videos, facts, strict=True)}
        profile = self.storage.profiles.profile(self.info.key, hashes)
        return VideoTable(
            self.name.lower(), self.info, self.definition.max_count, tuple(facts), profile,
            self.definition.tracker,
            self.storage.proxies.facts(
                self.name.lower(), self.info.key, {h: f.frames for h, f in hashes.items()}
            ),
            TRACKERS[self.definition.tracker].local,
        )  # fmt: skip

    def measure(self, cancel: CancelCheck) -> None:
        """Learn what decoding and detecting cost here, unless that is known.

        It takes some tenths of a second. Only the first video is tried: the others are taken to be
        as fast per pixel.

        Raises:
            OperationalError: 58030, the video cannot be decoded.
        """
        if not self.frames or self.facts().profile.measured:
            return
        from foveal.connectors.video.profile import profile as decoding
        from foveal.udfs.detectors import profile as detecting

        video, profiles = self.videos[0], self.storage.profiles
        frame, seek, look = decoding(video, cancel=cancel)
        counters = DecodeCounters(frames_decoded=64, seeks=4, seconds=64 * frame + 4 * seek)
        profiles.decoded(video.content_hash, self.video_facts(0), counters)
        looked = DecodeCounters(frames_decoded=48, seconds=48 * look)
        profiles.looked(video.content_hash, self.video_facts(0), looked)
        seconds = detecting(self.detector, video.index.height, video.index.width)
        profiles.detected(self.info.key, 1, seconds)

    def video_facts(self, i: int) -> VideoFacts:
        """Return one video's facts, for the profiles."""
        index = self.videos[i].index
        keys = max(int(index.is_key.sum()), 1)
        return VideoFacts(
            self.videos[i].name, index.frames, float(index.ts[-1]) if index.frames else 0.0,
            index.width, index.height, index.frames / keys, 0,
        )  # fmt: skip

    def keyframes(self, positions: Positions) -> int:
        """Return how many decoding starts the positions' range holds (at least one each video)."""
        found = 0
        for i, frames in self.split(positions):
            keys = self.videos[i].index.is_key[frames[0] : frames[-1] + 1]
            found += max(int(keys.sum()), 1)
        return found

    def frame_batch(
        self, positions: Positions, columns: Sequence[str] | None = None
    ) -> pa.RecordBatch:
        """Return the frames relation's rows at sorted positions."""
        wanted = FRAMES.names if columns is None else columns
        batches: list[pa.RecordBatch] = []
        for i, frames in self.split(positions):
            index = self.videos[i].index
            rows = len(frames)
            arrays: dict[str, Column] = {
                "video": constant(self.videos[i].name, rows),
                "frame": pa.array(frames, pa.int64()),
                "pts": pa.array(index.pts[frames], pa.int64()),
                "ts": pa.array(index.ts[frames], pa.float64()),
                "is_key": pa.array(index.is_key[frames]),
            }
            if "image" in wanted:
                boxes = np.tile(np.array([0, 0, index.width, index.height], np.float32), (rows, 1))
                arrays["image"] = handles(str(self.videos[i].path), frames, boxes)
            batches.append(assemble(FRAMES, rows, arrays, wanted))
        table = pa.Table.from_batches(batches, schema=FRAMES).combine_chunks()
        found = table.to_batches()
        return found[0] if found else assemble(FRAMES, 0, {}, ())

    def video_by_path(self, path: str) -> Video | None:
        """Return the open video at `path`, if it is one of the table's."""
        return next((v for v in self.videos if str(v.path) == path), None)
