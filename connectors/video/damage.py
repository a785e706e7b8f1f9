"""Say which stretches of time a file holds but cannot give: lost packets and a missing tail in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from foveal.connectors.video.table import PacketTable, StreamFacts, timeline, usual_step

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from foveal.connectors.video.stream import Stream

    Flags = npt.NDArray[np.bool_]

_HIDDEN = {"vp8": 2**31, "mpeg4": 16}
"""Codecs with packets that show nothing by design, and the size in bytes up to which they do:
VP8's alternate reference frames, and the "not coded" pictures of packed MPEG-4 B-frames."""


def skipped_ranges(
    stream: Stream, table: PacketTable, facts: StreamFacts, yields: Flags
) -> tuple[tuple[float, float], ...]:
    """Return (first, last) ranges in seconds since the first shown frame, ascending, disjoint.

    Lost are the packets from which a picture was due and none came (`yields` bool [P] says which
    gave one), and the time that the file's header promises beyond the last packet. What was lost
    before the first shown frame has negative seconds.
    """
    lost = table.due & ~yields & (table.size > _HIDDEN.get(facts.codec, -1))
    times = timeline(table, facts) * facts.tick
    usual = usual_step(table, facts) * facts.tick
    origin = float(times[yields].min())
    ranges = [(t, t + usual) for t in sorted((times[lost] - origin).tolist())]
    for packet in table.after_loss.tolist():
        if packet > 0:
            low = float(times[:packet].max()) - origin + usual
            high = float(times[packet:].min()) - origin
            if high > low + 0.5 * usual:  # else what lay there was no picture
                ranges.append((low, high))
    ranges.sort()
    end = float(times[table.due].max()) - origin + usual
    promised = _promised_end(stream, packets=table.packets, usual=usual, origin=origin)
    if promised is not None and promised > end + 1.5 * usual:
        ranges.append((end, promised))
    merged: list[tuple[float, float]] = []
    for low, high in ranges:
        if merged and low <= merged[-1][1] + 0.5 * usual:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple((round(low, 6), round(high, 6)) for low, high in merged)


def _promised_end(stream: Stream, *, packets: int, usual: float, origin: float) -> float | None:
    """Return where the file's own header says its video ends, in seconds since the first frame."""
    video = stream.stream
    base = float(video.time_base or 1)
    if video.frames > packets:
        start = (video.start_time or 0) * base
        return max(start + (video.duration or 0) * base - origin, video.frames * usual)
    # Matroska keeps each track's length as a tag, written into the head of the file.
    tag = next((v for k, v in video.metadata.items() if k.upper() == "DURATION"), None)
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", tag.strip("\0 ")) if tag else None
    if match is None:
        return None
    hours, minutes, seconds = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - origin
