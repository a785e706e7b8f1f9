"""Video files by pattern: names, globs and folders in, `Video`s with unique names out."""

from __future__ import annotations

import difflib
import glob
import hashlib
import os
import re
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.connectors.video import remembered
from foveal.connectors.video.faults import UndecodableFrame, file_version, unreadable
from foveal.connectors.video.packets import PacketIndex
from foveal.connectors.video.ring import SLOTS
from foveal.errors import OperationalError

if TYPE_CHECKING:
    from foveal.planner.protocols import CancelCheck, DecodeCounters, Frames, Image

EXTENSIONS = frozenset(
    {".3gp", ".asf", ".avi", ".dav", ".flv", ".m2ts", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov"}
    | {".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"}
)
"""What counts as a video in a folder that is given as a whole."""


class VideoFile:
    """A video file: its index, and exact frames by number, decoded in a child process or here.

    Thread-safe. The index is made at first use and remembered by content.
    """

    def __init__(self, path: Path, name: str, *, isolate: bool) -> None:
        """Name a file; nothing is opened yet."""
        self._path = path
        self._name = name
        # The ring of pictures is inherited as a file descriptor, which only POSIX can.
        self._isolate = isolate and os.name == "posix"
        self._lock = threading.RLock()
        self._version = file_version(path)
        self._digest: str | None = None
        self._index: PacketIndex | None = None

    def __repr__(self) -> str:
        """Show name and path."""
        return f"VideoFile({self._name!r}, {str(self._path)!r})"

    @property
    def name(self) -> str:
        """The value of the `video` column."""
        return self._name

    @property
    def path(self) -> Path:
        """The file, absolute."""
        return self._path

    @property
    def content_hash(self) -> str:
        """Names the file's bytes, and the numbering of its frames where that had to change.

        BLAKE2b-128 in hex. When a frame failed to decode and the file was then indexed by decoding
        all of it, its frames are other ones, and what was stored under the first name must not be
        taken for theirs.
        """
        digest = self._bytes_hash()
        if not remembered.is_doubted(digest):
            return digest
        return hashlib.blake2b(f"{digest} in full".encode(), digest_size=16).hexdigest()

    def _bytes_hash(self) -> str:
        with self._lock:
            self._check_unchanged()
            if self._digest is None:
                self._digest = remembered.content_hash(self._path)
            return self._digest

    @property
    def index(self) -> PacketIndex:
        """The frame index. See `load_index`."""
        return self.load_index(cancel=lambda: None)

    def load_index(self, *, cancel: CancelCheck) -> PacketIndex:
        """Return the frame index, making it at first use.

        Raises:
            OperationalError: 58030, the file cannot be read as video, or it changed since it was
                opened.
        """
        with self._lock:
            if self._index is not None:
                return self._index
            digest = self._bytes_hash()
            full = remembered.is_doubted(digest)
            index = remembered.recall_index(digest, full=full)
            if index is None:
                index = self._build(full, cancel)
                remembered.note_index(digest, index, full=full)
            self._index = index
            return index

    def _build(self, full: bool, cancel: CancelCheck) -> PacketIndex:
        if self._isolate:
            from foveal.connectors.video import isolated

            return isolated.build_index(self._path, full=full, cancel=cancel)
        from foveal.connectors.video.index import build_index

        return build_index(self._path, full=full, beat=cancel)

    def read(
        self,
        frames: Frames,
        *,
        counters: DecodeCounters,
        cancel: CancelCheck,
        ahead: int = SLOTS,
    ) -> Iterator[tuple[int, Image]]:
        """Yield (frame number, picture uint8 RGB [H, W, 3]) for the wanted frames, ascending.

        `frames` is sorted and unique. The pictures are the caller's own. A child process decodes
        up to `ahead` of them while the caller works: who works on many at once gives as many.

        Raises:
            OperationalError: 58030, the file cannot be read, a frame cannot be decoded, the file
                changed since it was opened, or its decoder crashed.
        """
        if not len(frames):
            return
        with self._readable(frames, cancel) as index:
            if self._isolate:
                from foveal.connectors.video import isolated

                yield from isolated.read_frames(
                    self._path, index, frames, counters=counters, cancel=cancel, ahead=ahead
                )
            else:
                from foveal.connectors.video.reader import read_frames
                from foveal.connectors.video.stream import Stream

                with Stream(self._path) as stream:
                    yield from read_frames(stream, index, frames, counters=counters, cancel=cancel)

    def thumbnails(
        self, frames: Frames, *, counters: DecodeCounters, cancel: CancelCheck
    ) -> Iterator[tuple[Frames, Image]]:
        """Yield (frame numbers int64 [k], gray pictures uint8 [k, 96, 96]), ascending, in batches.

        `frames` is sorted and unique. A frame's thumbnail is the same whichever others are read
        with it. The arrays are the caller's own.

        Raises:
            OperationalError: 58030, as `read`.
        """
        if not len(frames):
            return
        with self._readable(frames, cancel) as index:
            if self._isolate:
                from foveal.connectors.video import isolated

                yield from isolated.read_thumbnails(
                    self._path, index, frames, counters=counters, cancel=cancel
                )
            else:
                from foveal.connectors.video.stream import Stream
                from foveal.connectors.video.thumbnails import read_thumbnails

                with Stream(self._path, rough=True) as stream:
                    yield from read_thumbnails(
                        stream, index, frames, counters=counters, cancel=cancel
                    )

    @contextmanager
    def _readable(self, frames: Frames, cancel: CancelCheck) -> Generator[PacketIndex]:
        """Give the index for reading `frames`; doubt it where one of them cannot be decoded."""
        index = self.load_index(cancel=cancel)
        if frames[0] < 0 or frames[-1] >= index.frames:
            raise OperationalError(
                f'video "{self._name}" has frames 0 to {index.frames - 1}; '
                f"frames {frames[0]} to {frames[-1]} were asked for",
                sqlstate="58030",
            )
        self._check_unchanged()
        try:
            yield index
        except UndecodableFrame:
            with self._lock:
                remembered.note_doubt(self._bytes_hash())
                self._index = None
            raise

    def changed(self) -> bool:
        """Whether the file is another one than when it was opened."""
        return file_version(self._path) != self._version

    def _check_unchanged(self) -> None:
        if self.changed():
            raise unreadable(
                self._path,
                "it was changed since it was opened",
                hint="run the statement again to read the file as it is now",
            )


def open_videos(
    patterns: Sequence[str], *, roots: Sequence[Path] = (), isolate: bool = True
) -> list[VideoFile]:
    """Return the videos that the patterns name: files, globs (`**` too) and folders.

    Relative ones are looked for in the working directory, then in `roots`; the first place that has
    any wins. Within a pattern files come in natural order (cam2 before cam10); a file named twice
    comes once. Names are the files' own, with as many parent folders before them as make them
    unique. Nothing is decoded: whether a file is a video shows at its first use.

    Raises:
        OperationalError: 58P01, a pattern names no file.
    """
    paths: dict[Path, Path] = {}
    for pattern in patterns:
        for path in _matching(pattern, roots):
            paths.setdefault(path.resolve(), Path(os.path.abspath(path)))
    names = unique_names(list(paths.values()))
    return [
        VideoFile(path, name, isolate=isolate)
        for path, name in zip(paths.values(), names, strict=True)
    ]


def _matching(pattern: str, roots: Sequence[Path]) -> list[Path]:
    given = Path(pattern).expanduser()
    places = [given] if given.is_absolute() else [base / given for base in (Path.cwd(), *roots)]
    for place in places:
        if place.is_dir():
            films = (f for f in place.iterdir() if f.suffix.lower() in EXTENSIONS and f.is_file())
            found = sorted(films, key=_natural)
        elif place.is_file():
            found = [place]
        elif glob.has_magic(str(given)):
            # Only the pattern's own characters are magic, not those of the folder it is under.
            base = "" if given.is_absolute() else glob.escape(str(place)[: -len(str(given))])
            matches = (Path(hit) for hit in glob.iglob(base + str(given), recursive=True))
            found = sorted((hit for hit in matches if hit.is_file()), key=_natural)
        else:
            continue
        if found:
            return found
    raise _missing(pattern, places)


def _missing(pattern: str, places: Sequence[Path]) -> OperationalError:
    tried = "looked in " + ", ".join(str(place.parent) for place in places)
    if any(place.is_dir() for place in places):
        return OperationalError(
            f'folder "{pattern}" holds no video',
            sqlstate="58P01",
            hint="known extensions: " + " ".join(sorted(EXTENSIONS)),
        )
    if glob.has_magic(pattern):
        return OperationalError(f'no file matches "{pattern}"', sqlstate="58P01", hint=tried)
    nearby: list[str] = []
    for place in places:
        if place.parent.is_dir():
            names = [file.name for file in place.parent.iterdir()]
            nearby += difflib.get_close_matches(place.name, names, n=3, cutoff=0.6)
    hint = f"{tried}; did you mean " + " or ".join(f'"{n}"' for n in nearby[:3]) + "?"
    return OperationalError(
        f'video "{pattern}" does not exist', sqlstate="58P01", hint=hint if nearby else tried
    )


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Return the sort key by which cam2 comes before cam10; digits compare as numbers."""
    return [
        (0, int(part), part) if part.isdecimal() else (1, 0, part)
        for part in re.split(r"(\d+)", str(path))
    ]


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Return each file's name, led by as many parent folders as make all names distinct.

    >>> unique_names([Path("/a/x/1.mp4"), Path("/a/y/1.mp4"), Path("/a/y/2.mp4")])
    ['x/1.mp4', 'y/1.mp4', '2.mp4']
    """
    depth = [1] * len(paths)
    while True:
        names = ["/".join(path.parts[-d:]) for path, d in zip(paths, depth, strict=True)]
        shared = [i for i, name in enumerate(names) if names.count(name) > 1]
        deeper = [i for i in shared if depth[i] < len(paths[i].parts)]
        if not deeper:
            return names
        for i in deeper:
            depth[i] += 1
