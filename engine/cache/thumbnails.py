"""The thumbnail store: gray pictures of frames go in, are kept durably, come out as one array.

One append is one or more segments: a file of raw pixels in `files/` and a row of the manifest,
which holds the list of its frames. Files never change, so a segment is checked against its
SHA-256 once per process, when it is first read, and later reads take just the pictures wanted. A
damaged segment loses its row, so its frames count as not kept.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import numpy as np

from foveal.engine.cache.compaction import FULL_TIER, groups, is_small, tier
from foveal.engine.cache.files import (
    RAW_SUFFIX,
    DamagedFile,
    StoredFile,
    find_file,
    new_file,
    os_error,
    pack_frames,
    read_checked,
    unpack_frames,
)
from foveal.engine.cache.index import FrameIndex, Segment
from foveal.engine.cache.manifest import Manifest
from foveal.engine.cache.objects import checked_frames
from foveal.errors import DataError, OperationalError
from foveal.planner.protocols import THUMBNAIL

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection

    import numpy.typing as npt

    Frames = npt.NDArray[np.int64]
    Pictures = npt.NDArray[np.uint8]

CHUNK = 4096
"""Most thumbnails of one segment: 37.7 MB."""

BYTES = THUMBNAIL * THUMBNAIL

WHOLE_SHARE = 0.25
"""Where more of a segment than this is wanted in many pieces, all of it is read."""

MANY_PIECES = 64


class ThumbnailStore:
    """Thumbnails by video content and frame, in the cache folder of a `Manifest`.

    Thread- and process-safe. An append is durable when it returns; kill -9 loses at most the append
    in flight. `path` names the way in which the thumbnails were made (decoder, scaler, their
    settings): thumbnails of another path are others.
    """

    def __init__(self, manifest: Manifest, path: str) -> None:
        """Use an open cache folder; whoever opened it closes it."""
        self._manifest = manifest
        self._path = path
        self._indexes: dict[str, FrameIndex] = {}
        self._checked: set[int] = set()

    def kept(self, video_hash: str, frames: int) -> npt.NDArray[np.bool_]:
        """Return bool [frames]: True where the frame's thumbnail is stored.

        Raises:
            OperationalError: 58030, the manifest cannot be read.
        """
        with self._manifest.reading() as connection:
            return self._index(connection, video_hash).processed(frames)

    def read(self, video_hash: str, frames: Frames) -> Pictures:
        """Return the thumbnails uint8 [n, 96, 96] of `frames` (sorted, unique), all of them kept.

        Memory: the result, and one segment (up to 38 MB) at a time.

        Raises:
            OperationalError: 58030, some are not stored, or turned out damaged; those are no longer
                promised, so the same statement decodes them anew.
        """
        frames = _ascending(frames)
        out = np.empty((frames.size, THUMBNAIL, THUMBNAIL), np.uint8)
        while True:
            with self._manifest.reading() as connection:
                index = self._index(connection, video_hash)
                owners = index.owners(frames)
                segments = [index.segments[int(i)] for i in np.unique(owners) if i]
            if (absent := frames[owners == 0]).size:
                raise OperationalError(
                    f"thumbnails of {absent.size} frames are not kept, the first is {absent[0]}",
                    sqlstate="58030",
                    hint="they were damaged or deleted meanwhile: run the statement again",
                )
            for segment in segments:
                places = np.flatnonzero(owners == segment.id)
                try:
                    self._take(segment, frames[places], places, out)
                except DamagedFile as damage:
                    self._condemn(video_hash, segment, damage)
                    break
            else:
                return out

    def append(self, video_hash: str, frames: Frames, pictures: Pictures) -> None:
        """Keep the thumbnails of `frames` (sorted, unique) durably, uint8 [n, 96, 96].

        Frames that are stored already are left as they are: the first wins.

        Raises:
            OperationalError: 53100 the disk is full, 58030 the folder cannot be written, 55P03 it
                stays locked; what a full chunk held before is kept.
            DataError: 22000, the pictures do not fit the frames, or these are not in order.
        """
        frames = _ascending(frames)
        if pictures.shape != (frames.size, THUMBNAIL, THUMBNAIL) or pictures.dtype != np.uint8:
            raise DataError(
                f"{frames.size} frames, but thumbnails of shape {pictures.shape}",
                sqlstate="22000",
            )
        for first in range(0, frames.size, CHUNK):
            part = slice(first, first + CHUNK)
            self._append(video_hash, frames[part], pictures[part])
        self._merge_full_tier(video_hash)

    def summary(self) -> list[tuple[str, int, int, int]]:
        """Return (video hash, thumbnails, segments, bytes) per video, by hash."""
        with self._manifest.reading() as connection:
            return connection.execute(
                "SELECT video, sum(frame_count), count(*), sum(length) FROM thumbnails "
                "WHERE path = ? GROUP BY 1 ORDER BY 1",
                (self._path,),
            ).fetchall()

    # --- inside: index ---

    def _index(self, connection: sqlite3.Connection, video_hash: str) -> FrameIndex:
        """Return the video's index, brought up to date. Call with the lock held."""
        index = self._indexes.setdefault(video_hash, FrameIndex())
        version = int(connection.execute("PRAGMA data_version").fetchone()[0])
        if index.data_version == version:
            return index
        generation = self._manifest.generation(connection)
        if generation != index.generation:
            rows = connection.execute(
                "SELECT id FROM thumbnails WHERE video = ? AND path = ?", (video_hash, self._path)
            ).fetchall()
            living = {int(row[0]) for row in rows}
            if any(number not in living for number in index.segments):
                index.keep_only(living)
        while self._add_newer(connection, video_hash, index):
            pass
        index.data_version, index.generation = version, generation
        return index

    def _add_newer(
        self, connection: sqlite3.Connection, video_hash: str, index: FrameIndex
    ) -> bool:
        """Index the rows younger than the last one seen; True where some were merged meanwhile."""
        merged = False
        rows = connection.execute(
            "SELECT id, file, length, checksum, frames FROM thumbnails "
            "WHERE video = ? AND path = ? AND id > ? ORDER BY id",
            (video_hash, self._path, index.last_id),
        ).fetchall()
        for number, file, length, checksum, packed in rows:
            stored = StoredFile(str(file), int(length), bytes(checksum))
            index.last_id = max(index.last_id, int(number))
            try:
                frames = unpack_frames(packed)
                find_file(self._manifest.file_folders, stored)
                if frames.size * BYTES != stored.length:
                    raise DamagedFile(f"{stored.name} does not match its manifest row")
            except DamagedFile as damage:
                merged |= not self._delete_damaged(connection, video_hash, int(number), damage)
                continue
            index.add(Segment(int(number), stored, frames, frames.size))
        return merged

    def _condemn(self, video_hash: str, segment: Segment, damage: DamagedFile) -> None:
        """Delete a segment that could not be read, unless it is gone since others merged it."""
        with self._manifest.writing() as connection:
            index = self._index(connection, video_hash)
            if segment.id in index.segments:
                self._delete_damaged(connection, video_hash, segment.id, damage)
                index.remove(segment)

    def _delete_damaged(
        self, connection: sqlite3.Connection, video_hash: str, number: int, damage: DamagedFile
    ) -> bool:
        """Delete the row of a damaged segment; its file goes with the next sweep.

        Returns False where there is no such row any more: not damaged, but merged by others.
        """
        if not connection.execute("DELETE FROM thumbnails WHERE id = ?", (number,)).rowcount:
            return False
        self._manifest.count_deletion(connection)
        self._manifest.notice(
            f"stored thumbnails of video {video_hash[:12]} are damaged and are ignored ({damage})"
        )
        return True

    # --- inside: reading ---

    def _take(self, segment: Segment, wanted: Frames, places: Frames, out: Pictures) -> None:
        """Copy the segment's thumbnails of `wanted` to `out[places]`.

        Raises:
            DamagedFile: it is damaged, or gone because others merged it.
            OperationalError: 58030, it is there and may not be read.
        """
        rows = np.searchsorted(segment.frames, wanted)
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        many = breaks.size > MANY_PIECES and rows.size > WHOLE_SHARE * segment.frames.size
        try:
            if segment.id not in self._checked:
                out[places] = self._whole(segment)[rows]
                return
            path = find_file(self._manifest.file_folders, segment.stored)
            if many:
                out[places] = _pictures(path.read_bytes())[rows]
                return
            with path.open("rb", buffering=0) as file:
                for run in np.split(np.arange(rows.size), breaks):
                    begin, end = int(places[run[0]]), int(places[run[-1]]) + 1
                    joined = end - begin == run.size
                    part = out[begin:end] if joined else np.empty_like(out[: run.size])
                    file.seek(int(rows[run[0]]) * BYTES)
                    _fill(file.readinto, part.data.cast("B"), segment.stored.name)
                    if not joined:
                        out[places[run]] = part
        except FileNotFoundError as error:
            raise DamagedFile(f"{segment.stored.name} is missing") from error
        except OSError as error:
            if error.errno == errno.EIO:  # the medium fails under this file
                raise DamagedFile(f"{segment.stored.name} cannot be read: {error}") from error
            raise os_error(error, self._manifest.folder) from error

    def _whole(self, segment: Segment) -> Pictures:
        content = read_checked(self._manifest.file_folders, segment.stored)
        self._checked.add(segment.id)
        return _pictures(content)

    # --- inside: writing ---

    def _append(self, video_hash: str, frames: Frames, pictures: Pictures) -> None:
        with self._manifest.reading() as connection:
            new = self._index(connection, video_hash).owners(frames) == 0
        while new.any():
            chosen, content = frames[new], _content(pictures if new.all() else pictures[new])
            stored = new_file(content, RAW_SUFFIX)
            self._manifest.write_temporary(content, stored)
            try:
                with self._manifest.lock:
                    with self._manifest.writing() as connection:
                        index = self._index(connection, video_hash)
                        still = index.owners(frames) == 0
                        if not np.array_equal(still & new, new):
                            new &= still  # another writer was faster with some frames
                            continue
                        segment = self._publish(connection, video_hash, stored, content, chosen)
                        index.data_version = -1  # an interrupt before `add` must not hide it
                    self._checked.add(segment.id)
                    index.add(segment)
                return
            finally:
                self._manifest.discard(stored)

    def _publish(
        self,
        connection: sqlite3.Connection,
        video_hash: str,
        stored: StoredFile,
        content: memoryview,
        frames: Frames,
    ) -> Segment:
        """Give the file its name and its row. Call inside `writing`."""
        self._manifest.publish(content, stored)
        row = connection.execute(
            "INSERT INTO thumbnails (video, path, file, length, checksum, frames, frame_count) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                video_hash,
                self._path,
                stored.name,
                stored.length,
                stored.checksum,
                pack_frames(frames),
                frames.size,
            ),
        ).fetchone()
        return Segment(int(row[0]), stored, frames, frames.size)

    def _merge_full_tier(self, video_hash: str) -> None:
        """Merge small segments of about one size, once there are many of them."""
        with self._manifest.reading() as connection:
            found = self._index(connection, video_hash).segments.values()
            small = [segment for segment in found if is_small(segment)]
        sizes = {tier(segment) for segment in small}
        for size in sizes:
            peers = [segment for segment in small if tier(segment) == size]
            if len(peers) < FULL_TIER:
                continue
            try:
                for group in groups(peers):
                    self._merge(video_hash, group)
            except OperationalError as error:
                self._manifest.notice(f"small segments could not be merged: {error.message}")

    def _merge(self, video_hash: str, group: Collection[Segment]) -> None:
        frames = np.concatenate([segment.frames for segment in group])
        parts: list[Pictures] = []
        for segment in group:
            try:
                parts.append(self._whole(segment))
            except DamagedFile as damage:
                self._condemn(video_hash, segment, damage)
                return
        frames, first = np.unique(frames, return_index=True)
        content = _content(np.concatenate(parts)[first])
        stored = new_file(content, RAW_SUFFIX)
        self._manifest.write_temporary(content, stored)
        try:
            with self._manifest.lock:
                with self._manifest.writing() as connection:
                    index = self._index(connection, video_hash)
                    if any(segment.id not in index.segments for segment in group):
                        return  # another process was faster
                    connection.executemany(
                        "DELETE FROM thumbnails WHERE id = ?", [(s.id,) for s in group]
                    )
                    self._manifest.count_deletion(connection)
                    merged = self._publish(connection, video_hash, stored, content, frames)
                    index.generation = self._manifest.generation(connection)
                    index.data_version = -1
                for segment in group:
                    index.remove(segment)
                self._checked.add(merged.id)
                index.add(merged)
        finally:
            self._manifest.discard(stored)
        self._manifest.delete_files([segment.stored.name for segment in group])


def _pictures(content: bytes) -> Pictures:
    return np.frombuffer(content, np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL)


def _content(pictures: Pictures) -> memoryview:
    return np.ascontiguousarray(pictures).data.cast("B")


def _fill(readinto: Callable[[memoryview], int | None], view: memoryview, name: str) -> None:
    """Read until `view` is full."""
    while view.nbytes:
        got = readinto(view)
        if not got:
            raise DamagedFile(f"{name} is cut short")
        view = view[got:]


def _ascending(frames: npt.ArrayLike) -> Frames:
    """Return the frame numbers as int64.

    Raises:
        DataError: 22003, a number is out of range; 22000, they are not sorted and unique.
    """
    given = np.asarray(frames, np.int64)
    checked = checked_frames(given)
    if not np.array_equal(checked, given):
        raise DataError("frame numbers must ascend", sqlstate="22000")
    return checked
