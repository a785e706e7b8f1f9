"""How fast this machine decodes and detects: measurements go in, a `Profile` comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from foveal.engine.cache.manifest import Manifest
from foveal.planner.protocols import DecodeCounters, Profile, VideoFacts

if TYPE_CHECKING:
    import sqlite3

DECODE_SECONDS_PER_PIXEL = 5e-9
"""Start: 5 ms per megapixel, H.264 in software, one thread."""
SEEK_SECONDS = 4e-3
"""Start: a seek by itself, without the decoding from the keyframe to the wanted frame."""
DETECT_SECONDS = 40e-3
"""Start: one picture through a small detector on one core."""
THUMBNAIL_SHARE = 0.85
"""Start: a thumbnail's seconds, decoding included, as a share of a decoded frame's."""
WEIGHT = 0.2
"""A new measurement's share of the moving average, once there are five."""


class Profiles:
    """Measured speeds, kept in the manifest of the cache folder. Thread- and process-safe.

    Units: seconds per frame, per thumbnail, per seek, per pixel. Each figure is an exponential
    moving average; the first few measurements count equally.
    """

    def __init__(self, manifest: Manifest) -> None:
        """Use an open cache folder; whoever opened it closes it."""
        self._manifest = manifest

    def decoded(self, video_hash: str, facts: VideoFacts, counters: DecodeCounters) -> None:
        """Take in what decoding a video cost; call once per statement and video.

        `counters.seconds` is frames times d plus seeks times s. It is split by what d and s were
        thought to be, and each is corrected in proportion to its share.
        """
        if counters.frames_decoded < 1 or counters.seconds <= 0:
            return
        pixels = facts.width * facts.height
        with self._manifest.writing() as connection:
            frame = self._decode(connection, video_hash, pixels)[0]
            seek = _get(connection, "seek", video_hash, SEEK_SECONDS)[0]
            decoding = counters.frames_decoded * frame
            expected = decoding + counters.seeks * seek
            ratio = counters.seconds / expected
            share = decoding / expected
            _update(connection, "decode", video_hash, frame, frame * ratio, share)
            if counters.seeks:
                _update(connection, "seek", video_hash, seek, seek * ratio, 1 - share)
            if pixels:
                now = _get(connection, "decode", video_hash, frame)[0]
                old = _get(connection, "pixel", "", now / pixels)[0]
                _update(connection, "pixel", "", old, now / pixels, 1.0)

    def looked(self, video_hash: str, facts: VideoFacts, counters: DecodeCounters) -> None:
        """Take in what reading thumbnails of a video cost; call once per statement and video.

        A seek is taken to cost what it is known to; the rest is the frames'.
        """
        if counters.frames_decoded < 1 or counters.seconds <= 0:
            return
        pixels = facts.width * facts.height
        with self._manifest.writing() as connection:
            look = self._thumbnail(connection, video_hash, pixels)
            seek = _get(connection, "seek", video_hash, SEEK_SECONDS)[0]
            looking = counters.frames_decoded * look
            expected = looking + counters.seeks * seek
            ratio, share = counters.seconds / expected, looking / expected
            _update(connection, "thumbnail", video_hash, look, look * ratio, share)
            decode, samples = self._decode(connection, video_hash, pixels)
            if samples:
                old = _get(connection, "thumbnail_share", "", THUMBNAIL_SHARE)[0]
                now = _get(connection, "thumbnail", video_hash, look)[0]
                _update(connection, "thumbnail_share", "", old, now / decode, share)

    def detected(self, detector_key: str, frames: int, seconds: float) -> None:
        """Take in what the detector needed for `frames` pictures, start-up not included."""
        if frames >= 1 and seconds > 0:
            self._average("detect", detector_key, seconds / frames)

    def started(self, detector_key: str, seconds: float) -> None:
        """Take in what loading the detector cost."""
        if seconds > 0:
            self._average("startup", detector_key, seconds)

    def averaged(self, kind: str, key: str, value: float) -> None:
        """Take in one more measurement of a quantity of another kind."""
        self._average(kind, key, value)

    def measured(self, kind: str, key: str) -> float | None:
        """Return a quantity's average, None where it was never measured."""
        with self._manifest.reading() as connection:
            value, samples = _get(connection, kind, key, 0.0)
        return value if samples else None

    def every(self, kind: str, head: str) -> dict[str, float]:
        """Return the averages of one kind whose keys begin with `head`, by the rest of the key."""
        with self._manifest.reading() as connection:
            rows = connection.execute(
                "SELECT key, seconds FROM profile WHERE kind = ? AND substr(key, 1, ?) = ?",
                (kind, len(head), head),
            ).fetchall()
        return {str(key)[len(head) :]: float(value) for key, value in rows}

    def profile(self, detector_key: str, videos: Mapping[str, VideoFacts]) -> Profile:
        """Return the speeds for a table: `videos` by content hash, averaged over their frames.

        A video never decoded is taken to be as fast per pixel as the others were. `seek` is
        what one frame costs at random: the seek, and decoding half a group of pictures.
        `thumbnail` of a video never looked at follows from its decoding. `measured` is True when
        the detector and a video of the table have been measured.
        """
        with self._manifest.reading() as connection:
            decode = seek = look = weight = 0.0
            any_measured = False
            for video_hash, facts in videos.items():
                frame, samples = self._decode(connection, video_hash, facts.width * facts.height)
                alone = _get(connection, "seek", video_hash, SEEK_SECONDS)[0]
                count = max(facts.frames, 1)
                decode += count * frame
                look += count * self._thumbnail(connection, video_hash, facts.width * facts.height)
                seek += count * (facts.mean_gop / 2 * frame + alone)
                weight += count
                any_measured |= samples > 0
            if not weight:
                decode, weight = DECODE_SECONDS_PER_PIXEL * 1e6, 1.0
                seek, look = SEEK_SECONDS, THUMBNAIL_SHARE * decode
            detect, samples = _get(connection, "detect", detector_key, DETECT_SECONDS)
            startup = _get(connection, "startup", detector_key, 0.0)[0]
        return Profile(
            decode_frame=decode / weight,
            seek=seek / weight,
            detect_frame=detect,
            startup=startup,
            measured=samples > 0 and any_measured,
            thumbnail=look / weight,
        )

    def _decode(
        self, connection: sqlite3.Connection, video_hash: str, pixels: int
    ) -> tuple[float, int]:
        """Return (seconds per frame, measurements)."""
        per_pixel = _get(connection, "pixel", "", DECODE_SECONDS_PER_PIXEL)[0]
        return _get(connection, "decode", video_hash, per_pixel * max(pixels, 1))

    def _thumbnail(self, connection: sqlite3.Connection, video_hash: str, pixels: int) -> float:
        """Return seconds per thumbnail of a straight read."""
        share = _get(connection, "thumbnail_share", "", THUMBNAIL_SHARE)[0]
        frame = self._decode(connection, video_hash, pixels)[0]
        return _get(connection, "thumbnail", video_hash, share * frame)[0]

    def _average(self, kind: str, key: str, seconds: float) -> None:
        with self._manifest.writing() as connection:
            old = _get(connection, kind, key, seconds)[0]
            _update(connection, kind, key, old, seconds, 1.0)


def _get(
    connection: sqlite3.Connection, kind: str, key: str, otherwise: float
) -> tuple[float, int]:
    row = connection.execute(
        "SELECT seconds, samples FROM profile WHERE kind = ? AND key = ?", (kind, key)
    ).fetchone()
    return (otherwise, 0) if row is None else (float(row[0]), int(row[1]))


def _update(
    connection: sqlite3.Connection, kind: str, key: str, old: float, new: float, share: float
) -> None:
    """Move the average from `old` towards `new`, by a part that `share` (0..1) scales."""
    samples = _get(connection, kind, key, old)[1] + 1
    moved = old + share * max(WEIGHT, 1 / samples) * (new - old)
    connection.execute(
        "INSERT INTO profile (kind, key, seconds, samples) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (kind, key) DO UPDATE SET seconds = excluded.seconds, "
        "samples = excluded.samples",
        (kind, key, moved, samples),
    )
