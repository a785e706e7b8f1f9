"""The SQLite (WAL) manifest of one cache folder: which files count, and who may write.

    <folder>/manifest.sqlite    tables meta, segments, artifacts, thumbnails, profile
    <folder>/files/             one file per row of segments, artifacts and thumbnails

Invariants. A file gets its final name, and its row, under SQLite's write lock; so whoever holds
the lock may delete a file without a row. Rows only ever point at synced files. A row is never
changed, only added and deleted, and every deletion counts up `generation`.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path

from foveal.engine.cache.files import (
    RAW_SUFFIX,
    SUFFIX,
    TEMPORARY_PREFIX,
    FileWriter,
    StoredFile,
    os_error,
    sync_folder,
    write_durably,
)
from foveal.errors import FovealError, InterfaceError, OperationalError
from foveal.reports import Notice

FORMAT_VERSION = 1
LOCK_SECONDS = 60.0
SWEEP_LOCK_SECONDS = 0.05
TEMPORARY_GRACE_SECONDS = 600.0
"""Temporary files younger than this may still be written by a living process."""

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE segments (
  id INTEGER PRIMARY KEY AUTOINCREMENT, video TEXT NOT NULL, detector TEXT NOT NULL,
  file TEXT NOT NULL UNIQUE, length INTEGER NOT NULL, checksum BLOB NOT NULL,
  frames BLOB NOT NULL, frame_count INTEGER NOT NULL, rows INTEGER NOT NULL);
CREATE INDEX segments_by_key ON segments (video, detector, id);
CREATE TABLE artifacts (
  kind TEXT NOT NULL, key TEXT NOT NULL, file TEXT NOT NULL UNIQUE, length INTEGER NOT NULL,
  checksum BLOB NOT NULL, PRIMARY KEY (kind, key));
CREATE TABLE profile (
  kind TEXT NOT NULL, key TEXT NOT NULL, seconds REAL NOT NULL, samples INTEGER NOT NULL,
  PRIMARY KEY (kind, key)) WITHOUT ROWID;
"""

_ADDED_TABLES = """
CREATE TABLE IF NOT EXISTS thumbnails (
  id INTEGER PRIMARY KEY AUTOINCREMENT, video TEXT NOT NULL, path TEXT NOT NULL,
  file TEXT NOT NULL UNIQUE, length INTEGER NOT NULL, checksum BLOB NOT NULL,
  frames BLOB NOT NULL, frame_count INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS thumbnails_by_key ON thumbnails (video, path, id);
"""
"""Tables that manifests of this format may lack; made when missing."""

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def sqlite_error(error: sqlite3.Error, folder: Path) -> FovealError:
    """Return the error that the user sees for a failed use of the manifest."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in _BUSY:
        return OperationalError(
            f"the cache in {folder} has been locked by another process for {LOCK_SECONDS:g} s",
            sqlstate="55P03",
            hint="see which process is using it, or try again later",
        )
    if primary == sqlite3.SQLITE_FULL:
        return OperationalError(
            f"could not keep results in {folder}: {error}",
            sqlstate="53100",
            hint="free some disk space; everything kept so far is still there",
        )
    return OperationalError(
        f"could not use the cache in {folder}: {error}",
        sqlstate="58030",
        hint="it holds only results that can be computed again: move the folder away to start anew",
    )


class Manifest:
    """An open cache folder. Thread-safe; any number of processes may have the same one open.

    Where the folder cannot be written, or `read_only` says it must not be, its content is read
    where it is and everything new goes to a temporary folder that `close` removes; a notice
    says so. `folder=None` is a temporary folder from the start.

    Args:
        folder: made if missing, unless read_only.
        read_only: leave the folder as it is.
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
        self.lock = threading.RLock()
        self._write_file = write_file
        self._notices: list[Notice] = []
        self._connection: sqlite3.Connection | None = None
        self._remove_temporary: Callable[[], object] | None = None
        self._origin: tuple[Path, ...] = ()
        if folder is None:
            self._open_temporary(None, None)
        elif read_only:
            reason = "the database is read-only" if folder.is_dir() else "there is none yet"
            self._open_temporary(folder, reason)
        else:
            try:
                (folder / "files").mkdir(parents=True, exist_ok=True)
                if not os.access(folder, os.W_OK) or not os.access(folder / "files", os.W_OK):
                    raise PermissionError(13, "Permission denied")
                self._open(folder)
            except OSError as error:
                self._open_temporary(folder, error.strerror or str(error))
            except sqlite3.Error as error:
                if (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _BUSY:
                    raise sqlite_error(error, folder) from error
                self._open_temporary(folder, str(error))

    # --- opening and closing ---

    def _open(self, folder: Path) -> None:
        self.folder = folder
        connection = sqlite3.connect(
            folder / "manifest.sqlite",
            timeout=LOCK_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._check_version(connection)
            self._sweep(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _open_temporary(self, origin: Path | None, reason: str | None) -> None:
        temporary = Path(tempfile.mkdtemp(prefix="foveal-cache-"))
        remove = weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)
        self._remove_temporary = remove
        try:
            (temporary / "files").mkdir()
            warm = False
            if origin is not None and (origin / "manifest.sqlite").is_file():
                warm = _copy_manifest(origin, temporary)
                if warm:
                    self._origin = (origin / "files",)
            try:
                self._open(temporary)
            except sqlite3.Error:
                for left in temporary.glob("manifest.sqlite*"):
                    left.unlink()
                warm, self._origin = False, ()
                self._open(temporary)
        except BaseException:
            remove()
            raise
        if reason is not None:
            start = "is read" if warm else "starts cold"
            self.notice(
                f"the cache in {origin} {start} and is not written to ({reason}): "
                "new results are kept in a temporary folder until this session ends",
                severity="WARNING" if not warm else "NOTICE",
            )

    def _check_version(self, connection: sqlite3.Connection) -> None:
        """Make the tables of a new manifest; refuse those of a newer foveal."""
        found = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'"
        if connection.execute(found).fetchone() is None:
            connection.execute("BEGIN IMMEDIATE")
            try:
                if connection.execute(found).fetchone() is None:
                    for statement in filter(str.strip, _TABLES.split(";")):
                        connection.execute(statement)
                    connection.execute(
                        "INSERT INTO meta VALUES ('format_version', ?), ('generation', 0)",
                        (FORMAT_VERSION,),
                    )
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise
        row = connection.execute("SELECT value FROM meta WHERE name = 'format_version'").fetchone()
        version = int(row[0]) if row else 0
        if version <= FORMAT_VERSION:
            added = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'thumbnails'"
            if connection.execute(added).fetchone() is None:
                for statement in filter(str.strip, _ADDED_TABLES.split(";")):
                    connection.execute(statement)
        else:
            raise OperationalError(
                f"the cache in {self.folder} was made by a newer foveal (format {version}, "
                f"this one reads up to {FORMAT_VERSION})",
                sqlstate="58000",
                hint="upgrade foveal, or move the folder away to start with a cold cache",
            )

    def _sweep(self, connection: sqlite3.Connection) -> None:
        """Delete files that a killed process left: those without a row, and old temporary ones.

        Skipped while another process holds the write lock; the next opening does it.
        """
        if self._origin:
            return
        files = self.folder / "files"
        connection.execute(f"PRAGMA busy_timeout = {int(SWEEP_LOCK_SECONDS * 1000)}")
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if (error.sqlite_errorcode & 0xFF) not in _BUSY:
                raise
            return
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(LOCK_SECONDS * 1000)}")
        try:
            kept = {
                name
                for table in ("segments", "artifacts", "thumbnails")
                for (name,) in connection.execute(f"SELECT file FROM {table}")
            }
            young = time.time() - TEMPORARY_GRACE_SECONDS
            for entry in os.scandir(files):
                name = entry.name
                if name.startswith(TEMPORARY_PREFIX):
                    orphan = _modified(entry) < young
                else:
                    orphan = name.endswith((SUFFIX, RAW_SUFFIX)) and name not in kept
                if orphan:
                    remove_file(files / name)
        finally:
            connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the manifest; remove the temporary folder, if this is one. May be called twice."""
        with self.lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            if self._remove_temporary is not None:
                self._remove_temporary()

    @property
    def connection(self) -> sqlite3.Connection:
        """The open connection; use it with `lock` held.

        Raises:
            InterfaceError: the store is closed.
        """
        if self._connection is None:
            raise InterfaceError("the cache is closed")
        return self._connection

    # --- reading and writing ---

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """Hold the lock of this process around some reads; SQLite's errors become ours."""
        with self.lock:
            connection = self.connection
            try:
                yield connection
            except sqlite3.Error as error:
                raise sqlite_error(error, self.folder) from error

    @contextmanager
    def writing(self) -> Generator[sqlite3.Connection]:
        """Hold the write lock of all processes; commit at the end, roll back on any exception."""
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.rollback()

    def write_temporary(self, content: memoryview, stored: StoredFile) -> None:
        """Write a file under its temporary name, durably, outside any transaction.

        Raises:
            OperationalError: 53100 disk full, 58030 any other failure; nothing is left behind.
        """
        path = self._temporary(stored)
        try:
            self._write_file(path, content)
        except OSError as error:
            remove_file(path)
            raise os_error(error, self.folder) from error
        except BaseException:
            remove_file(path)
            raise

    def publish(self, content: memoryview, stored: StoredFile) -> None:
        """Give a temporary file its final name. Call inside `writing`, before adding its row.

        A file that a sweep took for left over (this process slept for long) is written again.
        """
        final = self.folder / "files" / stored.name
        for attempt in range(2):
            try:
                os.replace(self._temporary(stored), final)
                sync_folder(final.parent)
                return
            except FileNotFoundError as error:
                if attempt:
                    raise os_error(error, self.folder) from error
                self.write_temporary(content, stored)
            except OSError as error:
                raise os_error(error, self.folder) from error

    def discard(self, stored: StoredFile) -> None:
        """Delete a temporary file that was not published, if it is there."""
        remove_file(self._temporary(stored))

    def delete_files(self, names: list[str]) -> None:
        """Delete files whose rows are gone, after the commit. What stays now is swept later."""
        for name in names:
            remove_file(self.folder / "files" / name)

    def count_deletion(self, connection: sqlite3.Connection) -> None:
        """Tell every process that rows were deleted. Call inside `writing`."""
        connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'generation'")

    def generation(self, connection: sqlite3.Connection) -> int:
        """Return how many times rows were deleted."""
        row = connection.execute("SELECT value FROM meta WHERE name = 'generation'").fetchone()
        return int(row[0])

    @property
    def file_folders(self) -> tuple[Path, ...]:
        """Where files are looked for, in order."""
        return (self.folder / "files", *self._origin)

    def _temporary(self, stored: StoredFile) -> Path:
        return self.folder / "files" / (TEMPORARY_PREFIX + stored.name)

    # --- notices ---

    def notice(self, message: str, *, severity: str = "WARNING") -> None:
        """Keep a remark for the user until the next `take_notices`."""
        with self.lock:
            self._notices.append(Notice(message, severity, "01000"))

    def take_notices(self) -> list[Notice]:
        """Return the remarks since the last call, oldest first."""
        with self.lock:
            taken, self._notices = self._notices, []
            return taken


def remove_file(path: Path) -> None:
    """Delete a file that may be gone already, or (on Windows) still be open in another process."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        # Not needed for correctness: no row points at it. The next sweep tries again.
        return


def _modified(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _copy_manifest(origin: Path, folder: Path) -> bool:
    """Copy a manifest that must not be written to, with its write-ahead log; False if it cannot be.

    SQLite's own copy needs a -shm file beside the manifest, which a read-only folder refuses; then
    the two files are copied as they are. Nobody can be writing to such a folder.
    """
    name = "manifest.sqlite"
    try:
        uri = (origin / name).resolve().as_uri() + "?mode=ro"
        with (
            closing(sqlite3.connect(uri, uri=True, timeout=LOCK_SECONDS)) as source,
            closing(sqlite3.connect(folder / name)) as target,
        ):
            source.backup(target)
        return True
    except sqlite3.Error:
        for left in folder.glob(name + "*"):
            left.unlink()
    try:
        for suffix in ("", "-wal"):
            if (origin / (name + suffix)).exists():
                shutil.copyfile(origin / (name + suffix), folder / (name + suffix))
    except OSError:
        for left in folder.glob(name + "*"):
            left.unlink()
        return False
    return True
