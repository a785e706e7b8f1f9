"""One open video stream: packets by ordinal in, decoded frames with their packet's ordinal out.

This is the one place that talks to PyAV for decoding. A frame is tied to the packet it came from
by FFmpeg's opaque field (AV_CODEC_FLAG_COPY_OPAQUE), not by stamps, which files may lack or repeat.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.codec.context import Flags
from av.error import FFmpegError, InvalidDataError
from av.logging import PANIC, set_level

from foveal.connectors.video.faults import reason, unreadable
from foveal.connectors.video.packets import NO_STAMP, PacketIndex
from foveal.errors import OperationalError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_LOG = logging.getLogger(__name__)

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,asf,h264,hevc,vvc,av1,"
    "obu,ivf,ogg,mxf,nut,mjpeg,mjpeg_2000,dv,vc1,h261,h263,rm,wtv,dhav,yuv4mpegpipe,gif,apng,swf"
)
"""The FFmpeg demuxers that are let near a file. Missing are those that open further addresses
(hls, dash, concat, sdp), draw text as pictures (tty) or read devices."""

_UNMATCHED = 64
"""Packets read after a seek without meeting a known one, before the seek counts as failed."""


@dataclass(frozen=True, slots=True)
class PacketFacts:
    """What the demuxer says of one packet. Stamps in the stream's time base."""

    pts: int
    dts: int
    pos: int
    size: int
    duration: int
    is_key: bool
    is_corrupt: bool
    is_discard: bool
    gap: int
    """Bytes before the packet that belong to no packet, as far as the container lets us see."""


class Stream:
    """The best video stream of a file, read forward from any packet at which decoding may begin."""

    def __init__(self, path: Path, *, rough: bool = False) -> None:
        """Open the file.

        `rough` leaves the deblocking filter out of frames that no other frame is predicted from:
        a tenth to a quarter less work, and since nothing builds on those frames the error neither
        grows nor depends on where decoding began. For thumbnails only.

        Raises:
            OperationalError: 58030, it is missing, is no video or holds no picture stream.
        """
        self.path = path
        self.rough = rough
        self.next_packet = 0
        """Ordinal of the packet that `step` feeds next."""
        self.began_at = -1
        """Ordinal at which decoding began, -1 before it did."""
        self.refused = 0
        """Packets that the decoder refused so far."""
        self._open()

    def _open(self) -> None:
        set_level(PANIC)
        try:
            container = av.open(
                f"file:{self.path}",
                options={"protocol_whitelist": "file", "format_whitelist": FORMATS},
                metadata_errors="replace",
            )
        except (FFmpegError, OSError) as error:
            raise self._not_opened(error) from error
        stream = container.streams.best("video")
        if stream is None:
            container.close()
            raise unreadable(self.path, "it holds no video stream")
        self.container: InputContainer = container
        self.stream: VideoStream = stream  # pyright: ignore[reportAttributeAccessIssue]
        context = self.stream.codec_context
        if context.codec.is_encoder or not context.width or not context.height:
            self.close()
            raise unreadable(self.path, "the size of its pictures is unknown")
        # Threads neither save work nor, on busy cores, time; and their delay would blur the counts.
        # dav1d must not have any: it frees opaque fields, which takes the GIL, from its threads.
        self.stream.thread_type = "NONE"
        context.thread_count = 1
        context.flags |= Flags.copy_opaque
        if self.rough:
            context.options = {"skip_loop_filter": "noref"}
        self._decode: Callable[[Any], list[VideoFrame]] = self.stream.decode  # pyright: ignore[reportUnknownMemberType]
        self._demuxed: Iterator[Any] = self.container.demux(self.stream)
        self._ended = False
        self._untouched = True
        self._sought: PacketIndex | None = None

    def _not_opened(self, error: Exception) -> OperationalError:
        if not self.path.exists():
            return OperationalError(f'video "{self.path}" does not exist', sqlstate="58P01")
        if isinstance(error, PermissionError):
            return unreadable(self.path, "permission denied")
        if self.path.is_dir():
            return unreadable(self.path, "it is a folder")
        if self.path.stat().st_size == 0:
            return unreadable(self.path, "it is empty")
        if _mp4_without_moov(self.path):
            return unreadable(
                self.path,
                "the MP4 has no moov box, so the recording was cut off before its end was written",
                hint="frames of such a file cannot be located; record to MKV or TS, which survive "
                "a cut, or repair the file with a tool that rebuilds the moov box",
            )
        if getattr(error, "errno", None) == errno.EINVAL:
            return unreadable(self.path, "it is of no video format: text, say, or a play list")
        return unreadable(self.path, f"it is no video that FFmpeg knows ({reason(error)})")

    def close(self) -> None:
        """Close the file and its decoder."""
        self.container.close()

    def __enter__(self) -> Stream:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def demux(self) -> Iterator[PacketFacts]:
        """Yield the facts of every packet from here to the end, decoding nothing.

        Matroska says nowhere how many packets there should be, but its packets lie close together
        in file order: so there all streams are read, to see what bytes are left between them.
        """
        adjacent = "matroska" in self.container.format.name
        if adjacent:
            self._demuxed = self.container.demux()
        end: int | None = None
        while (packet := self._read(every=adjacent)) is not None:
            pos = NO_STAMP if packet.pos is None or packet.pos < 0 else packet.pos
            gap = 0 if end is None or pos == NO_STAMP else max(0, pos - end)
            end = pos + packet.size if adjacent and pos != NO_STAMP else end
            if packet.stream_index != self.stream.index:
                continue
            yield PacketFacts(
                pts=NO_STAMP if packet.pts is None else packet.pts,
                dts=NO_STAMP if packet.dts is None else packet.dts,
                pos=pos,
                size=packet.size,
                duration=packet.duration or 0,
                is_key=packet.is_keyframe,
                is_corrupt=packet.is_corrupt,
                is_discard=packet.is_discard,
                gap=gap,
            )

    def _read(self, *, every: bool = False) -> Any | None:
        """Return the next packet of the stream (of `every` stream), None at the end.

        Damage is stepped over.
        """
        failures = 0
        self._untouched = False
        while True:
            try:
                packet = next(self._demuxed, None)
            except (InvalidDataError, IndexError):
                # The demuxer may find its way again; a few tries, then the rest counts as lost.
                # (IndexError: damage made it see a stream that the file had not announced.)
                failures += 1
                if failures > 100:
                    return None
                streams = () if every else (self.stream,)
                self._demuxed = self.container.demux(*streams)
                continue
            except FFmpegError as error:
                raise unreadable(self.path, f"reading failed ({reason(error)})") from error
            if packet is None or (packet.size == 0 and packet.dts is None and packet.pts is None):
                return None  # the flush packet that PyAV appends
            return packet

    def restart(self) -> None:
        """Go back to the file's first packet, with a fresh decoder."""
        if not self._untouched:
            self.close()
            self._open()
        self.next_packet = 0
        self.began_at = 0

    def begin_at(self, index: PacketIndex, start: int) -> None:
        """Place the stream so that the next packet fed is exactly `start`, with a clean decoder.

        Demuxers land where they please; so the packet is recognised by its place in the file, and
        when a seek lands behind it an earlier one is tried, at last the start of the file.
        """
        if index.proven:
            self.restart()  # what a demuxer makes of damage depends on what it has read before
        if start > 0 and index.place_kind != "none":
            for stamp in _seek_stamps(index, start):
                if self._seek(index, start, stamp):
                    self.next_packet = self.began_at = start
                    return
        self.restart()
        while self.next_packet < start:
            if self._read() is None:
                break
            self.next_packet += 1
        self.began_at = start

    def _seek(self, index: PacketIndex, start: int, stamp: int) -> bool:
        self._untouched = False
        try:
            self.container.seek(stamp, stream=self.stream, backward=True)
        except FFmpegError as error:
            _LOG.debug("seek in %s to %d failed: %s", self.path, stamp, error)
            return False
        self._demuxed = self.container.demux(self.stream)
        self._ended = False
        wanted = int(index.packet_place[start])
        unmatched = 0
        while unmatched < _UNMATCHED:
            packet = self._read()
            if packet is None:
                return False
            place = getattr(packet, index.place_kind)
            if place == wanted:
                self._pushed_back(packet)
                self._sought = index
                return True
            if place is None or place < 0:
                continue  # it begins no unit of the file; a start always does
            found = np.flatnonzero(index.packet_place == place)
            if len(found) == 0:
                unmatched += 1
            elif int(found[0]) > start:
                return False
            else:
                unmatched = 0
        return False

    def _pushed_back(self, packet: Any) -> None:
        rest = self._demuxed

        def again() -> Iterator[Any]:
            yield packet
            yield from rest

        self._demuxed = again()

    def _count(self, packet: Any) -> int:
        """Return the packet's ordinal, -1 if unknown, and move on.

        From the file's start packets are counted. After a seek some demuxers cut the stream
        differently, so there the places must agree, or the count follows the places.
        """
        index, ordinal = self._sought, self.next_packet
        if index is not None:
            place = getattr(packet, index.place_kind)
            if place is not None and place >= 0:
                if ordinal >= index.packets or index.packet_place[ordinal] != place:
                    found = np.flatnonzero(index.packet_place == place)
                    if len(found) != 1:
                        return -1
                    ordinal = int(found[0])
            elif ordinal >= index.packets:
                return -1
        self.next_packet = ordinal + 1
        return ordinal

    def skip_to(self, start: int) -> bool:
        """Read packets without decoding them until `start` is next; False if it never comes."""
        while self.next_packet < start:
            packet = self._read()
            if packet is None:
                return False
            self._count(packet)
        return self.next_packet == start

    def alone(self) -> tuple[int, VideoFrame] | None:
        """Decode the next packet by itself and leave a clean decoder; for keyframes.

        Return (packet ordinal, frame); None where it does not give just one whole frame.
        """
        packet = self._read()
        if packet is None:
            return None
        ordinal = self._count(packet)
        packet.opaque = _Tag(ordinal)
        frames: list[VideoFrame] = []
        try:
            if packet.size:
                frames = [*self._decode(packet), *self._decode(None)]
        except FFmpegError as error:
            _LOG.debug("packet %d of %s: %s", ordinal, self.path, error)
        finally:
            self.stream.codec_context.flush_buffers()
        if len(frames) != 1 or frames[0].is_corrupt or _ordinal(frames[0]) != ordinal:
            return None
        return ordinal, frames[0]

    def step(self) -> list[tuple[int, VideoFrame]] | None:
        """Feed one packet; return the (packet ordinal, frame) pairs that came out, None at the end.

        A packet the decoder refuses yields nothing: who waits for its frame will miss it.
        """
        if self._ended:
            return None
        if self.began_at < 0:
            self.began_at = self.next_packet
        packet = self._read()
        try:
            if packet is None:
                self._ended = True
                frames = self._decode(None)
            else:
                ordinal = self._count(packet)
                if packet.size == 0:
                    return []  # an empty packet would read as the end of the stream
                packet.opaque = _Tag(ordinal)
                frames = self._decode(packet)
        except FFmpegError as error:
            self.refused += 1
            _LOG.debug("packet %d of %s: %s", self.next_packet - 1, self.path, error)
            return []
        return [(_ordinal(frame), frame) for frame in frames]


class _Tag:
    """A packet's ordinal, as an object of its own.

    PyAV keeps opaque objects by identity; small integers are shared, so that the end of one
    packet would strip another packet, of another file even, of its ordinal.
    """

    __slots__ = ("ordinal",)

    def __init__(self, ordinal: int) -> None:
        self.ordinal = ordinal


def _ordinal(frame: VideoFrame) -> int:
    opaque = frame.opaque
    return opaque.ordinal if isinstance(opaque, _Tag) else -1


def _seek_stamps(index: PacketIndex, start: int) -> Iterator[int]:
    """Yield stamps to seek to, nearest first: some demuxers search by pts, some by dts."""
    for stamps in (index.packet_pts, index.packet_dts):
        if stamps[start] != NO_STAMP:
            yield int(stamps[start])
    starts = np.unique(index.frame_start)
    place = int(np.searchsorted(starts, start))
    for back in (1, 2, 4, 8):
        if place - back > 0:
            packet = int(starts[place - back])
            stamp = max(int(index.packet_pts[packet]), int(index.packet_dts[packet]))
            if stamp != NO_STAMP:
                yield stamp


def _mp4_without_moov(path: Path) -> bool:
    """Say whether the file begins as an MP4 and has no moov box at its top level."""
    size = path.stat().st_size
    kinds: list[bytes] = []
    with path.open("rb") as file:
        place = 0
        while place + 8 <= size and len(kinds) < 1000:
            file.seek(place)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            elif length == 0:
                length = size - place
            kinds.append(head[4:8])
            if length < 8:
                break
            place += length
    return kinds[:1] == [b"ftyp"] and b"moov" not in kinds
