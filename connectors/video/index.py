"""Build the frame index of a file: a pass over its packets, checked against what decoding yields.

Demuxing alone is fast but only predicts: a packet may yield no picture (damage, a cut tail, hidden
frames), and a frame marked as key may not be a place to begin. So the prediction is checked where
files go wrong, and where a check disagrees, or the file is small, all of it is decoded. Damage in
the middle of a group of pictures that the container does not show is found when a frame is read
(`faults.UndecodableFrame`); the file is then indexed with `full`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from foveal.connectors.video import verify
from foveal.connectors.video.damage import skipped_ranges
from foveal.connectors.video.faults import unreadable
from foveal.connectors.video.packets import PacketIndex
from foveal.connectors.video.stream import PacketFacts, Stream
from foveal.connectors.video.table import PacketTable, StreamFacts, assemble


def build_index(path: Path, *, full: bool = False, beat: verify.Beat = lambda: None) -> PacketIndex:
    """Return the index of the file's best video stream; `full` decodes every packet for it.

    Frame n of the index is the n-th picture in presentation order, and reading it by number gives
    the same picture as reading the file straight through. What the file holds but no decoder can
    give stands in `skipped`.

    Raises:
        OperationalError: 58030, the file is no video or none of it can be decoded; 58P01, there is
            no such file.
    """
    with Stream(path) as stream:
        table = PacketTable.of(_beating(stream.demux(), beat))
        facts = _facts(stream)
        if not table.due.any():
            raise unreadable(path, "it holds no pictures")
        draft = assemble(table, facts, table.due)
        yields = None if full else verify.check(stream, table, facts, draft, beat)
        through = order = None
        if yields is None:
            everything = range(draft.packets)
            through = verify.decode(stream, draft, (0, draft.packets), beat, everything)
            order, doubtful = verify.packets_in(through), full or stream.refused > 0
            yields, full = np.isin(np.arange(draft.packets), order), True
            doubtful |= bool((table.due & ~yields).any()) or verify.needs_proof(stream, table)
        else:
            doubtful = False
        if not yields.any():
            raise unreadable(path, "none of its pictures can be decoded")
        index = assemble(table, facts, yields, order)
        if not verify.keys_hold(stream, index, through, beat):
            index = assemble(table, facts, yields, order, begin_anywhere=False)
        elif through is not None and doubtful:
            index = verify.proven_starts(stream, index, through, beat)
        rotation = _rotation(stream, index)
        turned = rotation // 90 % 2 == 1
        return replace(
            index,
            rotation=rotation,
            width=index.height if turned else index.width,
            height=index.width if turned else index.height,
            decoded_fully=full,
            skipped=skipped_ranges(stream, table, facts, yields),
        )


def _beating(facts: Iterable[PacketFacts], beat: verify.Beat) -> Iterable[PacketFacts]:
    for fact in facts:
        beat()
        yield fact


def _facts(stream: Stream) -> StreamFacts:
    video = stream.stream
    context = video.codec_context
    if video.time_base is None:
        raise unreadable(stream.path, "its stream has no time base")
    return StreamFacts(
        time_base=(video.time_base.numerator, video.time_base.denominator),
        width=context.width,
        height=context.height,
        codec=context.codec.canonical_name,
        rate=float(video.average_rate or 0),
    )


def _rotation(stream: Stream, index: PacketIndex) -> int:
    """Return the turn of the first picture that its display matrix asks for, in whole quarters."""
    stream.begin_at(index, int(index.frame_start[0]))
    while (frames := stream.step()) is not None:
        for _, frame in frames:
            return round(frame.rotation / 90) * 90 % 360
    return 0
