"""The detection store: what a detector said about frames goes in, is kept durably, comes out.

One append is one segment: an Arrow file in `files/` and a row of the manifest, which holds the
list of its frames (an empty frame is a fact). The segments of one (video, detector) share no
frame. The index in memory is brought up to date by SQLite's data_version, which other processes'
commits change.

Damage: every segment is checked against its SHA-256 when it is first indexed, and at every read
from disk. A damaged one loses its row, so its frames count as not processed.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa

from foveal.engine.cache.compaction import FULL_TIER, groups, is_small, tier
from foveal.engine.cache.files import (
    DamagedFile,
    FileWriter,
    StoredFile,
    unpack_frames,
    write_durably,
)
from foveal.engine.cache.index import FrameIndex, Key, MadeSegment, Segment, make_segment
from foveal.engine.cache.manifest import Manifest
from foveal.engine.cache.objects import (
    checked_frames,
    checked_objects,
    joined,
    rows_of,
)
from foveal.engine.cache.tables import SegmentTables
from foveal.errors import OperationalError
from foveal.reports import Notice

if TYPE_CHECKING:
    import sqlite3

    import numpy.typing as npt

    Frames = npt.NDArray[np.int64]


class SegmentStore:
    """Everything detectors said, in one folder. Implements `DetectionStore`.

    Any number of threads and processes may read and write at once. An append is durable when it
    returns; kill -9 loses at most the append in flight. Opening never fails because the folder
    cannot be written: see `Manifest`.

    Args:
        folder: the cache folder, `<database>.foveal`; None for a temporary one.
        read_only: leave the folder as it is; new results are kept until `close` only.
        write_file: writes one new file durably; given to simulate a failing disk.

    Raises:
        OperationalError: 58000, the folder was written by a newer foveal; 55P03, it stays locked.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        read_only: bool = False,
        write_file: FileWriter = write_durably,
    ) -> None:
        """Open or make the folder."""
        self.manifest = Manifest(folder, read_only=read_only, write_file=write_file)
        self._indexes: dict[Key, FrameIndex] = {}
        self._tables = SegmentTables(self.manifest)

    def close(self) -> None:
        """Close the store; a temporary folder is removed. May be called twice."""
        with self.manifest.lock:
            self._indexes.clear()
            self._tables.clear()
            self.manifest.close()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def take_notices(self) -> list[Notice]:
        """Return what the user should hear (damage, an unwritable folder) since the last call."""
        return self.manifest.take_notices()

    # --- DetectionStore ---

    def processed(self, video_hash: str, detector_key: str, frames: int) -> npt.NDArray[np.bool_]:
        """Return bool [frames]: True where the frame's detections are stored (maybe none).

        Raises:
            OperationalError: 58030, the manifest cannot be read.
        """
        with self.manifest.reading() as connection:
            return self._index(connection, (video_hash, detector_key)).processed(frames)

    def read(self, video_hash: str, detector_key: str, frames: Frames) -> pa.Table:
        """Return the stored objects of these frames (sorted, unique), by frame, best first.

        Columns: those of OBJECTS. A frame that is not stored has no rows. Memory: the result,
        and one segment (about 16 MB) at a time.

        Raises:
            OperationalError: 58030, frames that `processed` had promised turned out damaged; they
                are no longer promised, so the same statement detects them anew.
        """
        key = (video_hash, detector_key)
        frames = checked_frames(frames)
        while True:
            with self.manifest.reading() as connection:
                index = self._index(connection, key)
                owners = index.owners(frames)
                if index.lost.size:
                    self._refuse_lost(index, frames[owners == 0])
                segments = [index.segments[int(i)] for i in np.unique(owners) if i]
            pieces: list[pa.Table] = []
            for segment in segments:
                try:
                    table = self._tables.read(segment)
                except DamagedFile as damage:
                    self._condemn(key, segment, damage)
                    break
                wanted = frames[owners == segment.id]
                whole = wanted.size == segment.frames.size
                pieces.append(table if whole else rows_of(table, wanted))
            else:
                return joined(pieces)

    def append(self, video_hash: str, detector_key: str, frames: Frames, objects: pa.Table) -> None:
        """Keep the objects of `frames` durably; frames without a row are kept as empty.

        Frames that are stored already are left as they are: the first wins.

        Raises:
            OperationalError: 53100 the disk is full, 58030 the folder cannot be written, 55P03 it
                stays locked; nothing of this append is kept then.
            DataError: 22003 a frame number out of range, 22000 objects that do not fit.
        """
        key = (video_hash, detector_key)
        frames = checked_frames(frames)
        objects = checked_objects(objects, frames)
        with self.manifest.reading() as connection:
            new = frames[self._index(connection, key).owners(frames) == 0]
        if not new.size:
            return
        made = make_segment(key, new, rows_of(objects, new))
        self.manifest.write_temporary(made.content, made.stored)
        try:
            with self.manifest.lock:
                with self.manifest.writing() as connection:
                    index = self._index(connection, key)
                    still = new[index.owners(new) == 0]
                    if still.size < new.size:  # another writer was faster with some frames
                        self.manifest.discard(made.stored)
                        if not still.size:
                            return
                        made = make_segment(key, still, rows_of(objects, still))
                        self.manifest.write_temporary(made.content, made.stored)
                    segment = self._publish(connection, key, made)
                    index.data_version = -1  # so that an interrupt before `add` cannot hide it
                index.add(segment)
        except BaseException:
            self.manifest.discard(made.stored)
            raise
        self._merge_full_tier(key, segment)

    # --- compaction ---

    def compact(self, video_hash: str | None = None, detector_key: str | None = None) -> int:
        """Merge small segments, of one key or of all; return how many files that saves.

        Changes no answer. Others may read and write meanwhile. Repeating it does nothing.
        """
        with self.manifest.reading() as connection:
            keys: list[Key] = connection.execute(
                "SELECT DISTINCT video, detector FROM segments WHERE video = coalesce(?, video) "
                "AND detector = coalesce(?, detector) ORDER BY 1, 2",
                (video_hash, detector_key),
            ).fetchall()
        return sum(self._merge(key) for key in keys)

    def summary(self) -> list[tuple[str, str, int, int, int, int]]:
        """Return (video hash, detector key, frames, objects, segments, bytes) per key, by key."""
        with self.manifest.reading() as connection:
            return connection.execute(
                "SELECT video, detector, sum(frame_count), sum(rows), count(*), sum(length) "
                "FROM segments GROUP BY 1, 2 ORDER BY 1, 2"
            ).fetchall()

    # --- inside: index ---

    def _index(self, connection: sqlite3.Connection, key: Key) -> FrameIndex:
        """Return the key's index, brought up to date. Call with the lock held."""
        index = self._indexes.get(key)
        if index is None:
            index = self._indexes[key] = FrameIndex()
        version = int(connection.execute("PRAGMA data_version").fetchone()[0])
        if index.data_version == version:
            return index
        generation = self.manifest.generation(connection)
        if generation != index.generation:
            self._drop_deleted(connection, key, index)
        else:
            self._add_newer(connection, key, index)
        index.data_version, index.generation = version, generation
        return index

    def _drop_deleted(self, connection: sqlite3.Connection, key: Key, index: FrameIndex) -> None:
        rows = connection.execute(
            "SELECT id FROM segments WHERE video = ? AND detector = ?", key
        ).fetchall()
        living = {int(row[0]) for row in rows}
        dropped = [s for s in index.segments.values() if s.id not in living]
        for segment in dropped:
            self._tables.forget(segment)
        index.keep_only(living)
        self._add_newer(connection, key, index)
        for segment in dropped:
            index.mark_lost(segment.frames)

    def _add_newer(self, connection: sqlite3.Connection, key: Key, index: FrameIndex) -> None:
        """Index the rows younger than the last one seen, each verified."""
        merged_meanwhile = True
        while merged_meanwhile:
            merged_meanwhile = False
            rows = connection.execute(
                "SELECT id, file, length, checksum, frames, rows FROM segments "
                "WHERE video = ? AND detector = ? AND id > ? ORDER BY id",
                (*key, index.last_id),
            ).fetchall()
            for number, file, length, checksum, packed, count in rows:
                stored = StoredFile(str(file), int(length), bytes(checksum))
                index.last_id = max(index.last_id, int(number))
                try:
                    segment = Segment(int(number), stored, unpack_frames(packed), int(count))
                    self._tables.read(segment)
                except DamagedFile as damage:
                    if not self._delete_damaged(connection, key, int(number), damage):
                        merged_meanwhile = True
                    continue
                index.add(segment)

    def _refuse_lost(self, index: FrameIndex, absent: Frames) -> None:
        lost = np.intersect1d(absent, index.lost, assume_unique=True)
        if lost.size:
            raise OperationalError(
                f"stored detections of {lost.size} frames are damaged, the first is {lost[0]}",
                sqlstate="58030",
                hint="run the statement again: the detector will look at these frames anew",
            )

    # --- inside: damage ---

    def _condemn(self, key: Key, segment: Segment, damage: DamagedFile) -> None:
        """Delete a segment that could not be read, unless it is gone since others merged it."""
        with self.manifest.writing() as connection:
            index = self._index(connection, key)
            if segment.id in index.segments:
                self._delete_damaged(connection, key, segment.id, damage)
                index.remove(segment)
                index.mark_lost(segment.frames)
                self._tables.forget(segment)

    def _delete_damaged(
        self, connection: sqlite3.Connection, key: Key, number: int, damage: DamagedFile
    ) -> bool:
        """Delete the row of a damaged segment; its file goes with the next sweep.

        Returns False where there is no such row any more: not damaged, but merged by others.
        """
        if not connection.execute("DELETE FROM segments WHERE id = ?", (number,)).rowcount:
            return False
        self.manifest.count_deletion(connection)
        self.manifest.notice(
            f"stored detections of video {key[0][:12]} are damaged and are ignored ({damage}); "
            "their frames count as not processed"
        )
        return True

    # --- inside: writing ---

    def _publish(self, connection: sqlite3.Connection, key: Key, made: MadeSegment) -> Segment:
        """Give the file its name and its row. Call inside `writing`."""
        self.manifest.publish(made.content, made.stored)
        row = connection.execute(
            "INSERT INTO segments (video, detector, file, length, checksum, frames, frame_count, "
            "rows) VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                *key,
                made.stored.name,
                made.stored.length,
                made.stored.checksum,
                made.packed,
                made.frames.size,
                made.rows,
            ),
        ).fetchone()
        return Segment(int(row[0]), made.stored, made.frames, made.rows)

    def _merge_full_tier(self, key: Key, latest: Segment) -> None:
        """Merge the segments about as large as the latest, once there are many of them."""
        size = tier(latest)
        with self.manifest.reading() as connection:
            index = self._index(connection, key)
            peers = {s.id for s in index.segments.values() if is_small(s) and tier(s) == size}
        if len(peers) >= FULL_TIER:
            try:
                self._merge(key, peers)
            except OperationalError as error:
                self.manifest.notice(f"small segments could not be merged: {error.message}")

    def _merge(self, key: Key, chosen: Collection[int] | None = None) -> int:
        """Merge the chosen small segments (or all small ones); return how many files that saves."""
        with self.manifest.reading() as connection:
            index = self._index(connection, key)
            small = [
                s
                for s in index.segments.values()
                if is_small(s) and (chosen is None or s.id in chosen)
            ]
        return sum(self._merge_group(key, group) for group in groups(small))

    def _merge_group(self, key: Key, group: list[Segment]) -> int:
        tables: list[pa.Table] = []
        for segment in group:
            try:
                tables.append(self._tables.read(segment))
            except DamagedFile as damage:
                self._condemn(key, segment, damage)
                return 0
        frames = np.sort(np.concatenate([s.frames for s in group]))
        made = make_segment(key, frames, joined(tables))
        self.manifest.write_temporary(made.content, made.stored)
        try:
            with self.manifest.lock:
                with self.manifest.writing() as connection:
                    index = self._index(connection, key)
                    if any(s.id not in index.segments for s in group):
                        self.manifest.discard(made.stored)  # another process was faster
                        return 0
                    connection.executemany(
                        "DELETE FROM segments WHERE id = ?", [(s.id,) for s in group]
                    )
                    self.manifest.count_deletion(connection)
                    merged = self._publish(connection, key, made)
                    index.generation = self.manifest.generation(connection)
                    index.data_version = -1
                for segment in group:
                    index.remove(segment)
                    self._tables.forget(segment)
                index.add(merged)
        except BaseException:
            self.manifest.discard(made.stored)
            raise
        self.manifest.delete_files([s.stored.name for s in group])
        return len(group) - 1
