"""Derived arrays kept by content (tracks, proxy scores): a table goes in under a key, comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.engine.cache.files import (
    DamagedFile,
    StoredFile,
    encode_table,
    new_file,
    os_error,
    read_table,
)
from foveal.engine.cache.manifest import Manifest

if TYPE_CHECKING:
    import pyarrow as pa


class ArtifactStore:
    """Tables by (kind, key), in the cache folder of a `Manifest`. Thread- and process-safe.

    The key names everything that the table was made from (contents and parameters), so a table
    never changes: of two puts under one key the first wins. As durable as detections are.
    """

    def __init__(self, manifest: Manifest) -> None:
        """Use an open cache folder; whoever opened it closes it."""
        self._manifest = manifest

    def put(self, kind: str, key: str, table: pa.Table) -> None:
        """Keep the table durably, unless there is one under this key.

        Raises:
            OperationalError: 53100 the disk is full, 58030 the folder cannot be written, 55P03 it
                stays locked; nothing is kept then.
        """
        if self._row(kind, key) is not None:
            return
        content = encode_table(table, {b"foveal.kind": kind.encode(), b"foveal.key": key.encode()})
        stored = new_file(content)
        self._manifest.write_temporary(content, stored)
        try:
            with self._manifest.writing() as connection:
                if self._row(kind, key) is None:
                    self._manifest.publish(content, stored)
                    connection.execute(
                        "INSERT INTO artifacts (kind, key, file, length, checksum) "
                        "VALUES (?, ?, ?, ?, ?)",
                        (kind, key, stored.name, stored.length, stored.checksum),
                    )
        finally:
            self._manifest.discard(stored)

    def get(self, kind: str, key: str) -> pa.Table | None:
        """Return the table, or None where there is none (or a damaged one: a notice says so).

        The schema's metadata is the table's own, and `foveal.kind` and `foveal.key`.

        Raises:
            OperationalError: 58030, the folder cannot be read.
        """
        stored = self._row(kind, key)
        while stored is not None:
            try:
                return read_table(self._manifest.file_folders, stored)
            except DamagedFile as damage:
                if self._delete(kind, key, stored):
                    self._manifest.notice(f"stored {kind} are damaged and are ignored ({damage})")
                stored = self._row(kind, key)
            except OSError as error:
                raise os_error(error, self._manifest.folder) from error
        return None

    def drop(self, kind: str, key: str) -> bool:
        """Delete the table under this key; return whether there was one."""
        stored = self._row(kind, key)
        dropped = stored is not None and self._delete(kind, key, stored)
        if dropped and stored is not None:
            self._manifest.delete_files([stored.name])
        return dropped

    def keys(self, kind: str) -> list[str]:
        """Return the keys of one kind, sorted."""
        with self._manifest.reading() as connection:
            rows = connection.execute(
                "SELECT key FROM artifacts WHERE kind = ? ORDER BY key", (kind,)
            ).fetchall()
        return [str(row[0]) for row in rows]

    def _row(self, kind: str, key: str) -> StoredFile | None:
        with self._manifest.reading() as connection:
            row = connection.execute(
                "SELECT file, length, checksum FROM artifacts WHERE kind = ? AND key = ?",
                (kind, key),
            ).fetchone()
        return None if row is None else StoredFile(str(row[0]), int(row[1]), bytes(row[2]))

    def _delete(self, kind: str, key: str, stored: StoredFile) -> bool:
        with self._manifest.writing() as connection:
            return bool(
                connection.execute(
                    "DELETE FROM artifacts WHERE kind = ? AND key = ? AND file = ?",
                    (kind, key, stored.name),
                ).rowcount
            )
