"""Pictures inside terminals that can show them: which one it is, and the bytes that it obeys.

kitty's graphics protocol (https://sw.kovidgoyal.net/kitty/graphics-protocol/), iTerm2's inline
images (https://iterm2.com/documentation-images.html) and sixel (DEC STD 070).
"""

from __future__ import annotations

import base64
import os
import re
import select
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from foveal.connectors.video.drawing import Image

Ints = npt.NDArray[np.int64]

PROTOCOLS = ("kitty", "iterm", "sixel")
_WAIT_SECONDS = 0.3
_CHUNK = 4096
"""Bytes of base64 that kitty takes at once."""


def protocol(out: TextIO, environment: Mapping[str, str]) -> str | None:
    """Return how the terminal takes pictures, None where it does not or nobody can tell.

    Terminals that name themselves are believed. Others are asked for their attributes (DA1), which
    every terminal answers and which types nothing; only if both ends are a terminal of ours.
    """
    if not out.isatty() or environment.get("TERM", "dumb") == "dumb":
        return None
    if environment.get("TMUX") or environment["TERM"].startswith(("screen", "tmux")):
        return None  # it would have to pass the picture on, and often does not
    program = environment.get("TERM_PROGRAM", "")
    if environment.get("KITTY_WINDOW_ID") or environment["TERM"] in (
        "xterm-kitty",
        "xterm-ghostty",
    ):
        return "kitty"
    if program in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm"
    return "sixel" if _says_sixel(out) else None


def _says_sixel(out: TextIO) -> bool:
    """Ask the terminal for its attributes; 4 among them is sixel."""
    if os.name != "posix" or not sys.stdin.isatty():
        return False
    import termios
    import tty

    source = sys.stdin.fileno()
    if os.tcgetpgrp(source) != os.getpgrp():
        return False  # in the background asking would stop us
    before = termios.tcgetattr(source)
    answer = b""
    try:
        tty.setcbreak(source, termios.TCSAFLUSH)
        out.write("\x1b[c")
        out.flush()
        until = time.monotonic() + _WAIT_SECONDS
        while not answer.endswith(b"c") and time.monotonic() < until:
            if select.select([source], [], [], _WAIT_SECONDS)[0]:
                answer += os.read(source, 64)
    finally:
        termios.tcsetattr(source, termios.TCSAFLUSH, before)
    said = re.search(rb"\x1b\[\?([\d;]*)c", answer)
    return said is not None and b"4" in said[1].split(b";")


def inline(picture: Image, how: str) -> bytes:
    """Return what to print so that a terminal of that kind shows a picture (uint8 RGB)."""
    from foveal.connectors.video.drawing import encode_png

    if how == "sixel":
        return sixel(picture) + b"\n"
    data = base64.b64encode(encode_png(picture))
    if how == "iterm":
        head = f"\x1b]1337;File=inline=1;size={len(data)};width={picture.shape[1]}px:"
        return head.encode() + data + b"\x07\n"
    parts = [data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK)]
    commands = [
        b"\x1b_G%sm=%d;%s\x1b\\" % (b"a=T,f=100,q=2," if i == 0 else b"", i + 1 < len(parts), part)
        for i, part in enumerate(parts)
    ]
    return b"".join(commands) + b"\n"


def sixel(picture: Image) -> bytes:
    """Return a picture (uint8 RGB) in sixel, with the 216 colours of a 6 x 6 x 6 cube.

    Bands of six rows; for each colour of a band a line of characters, each of them six pixels of
    a column, with runs of one character counted.
    """
    height, width = picture.shape[:2]
    levels = (picture.astype(np.int32) * 5 + 127) // 255
    indexed: Ints = levels[..., 0] * 36 + levels[..., 1] * 6 + levels[..., 2]
    out = [b'\x1bPq"1;1;%d;%d' % (width, height)]
    used = np.unique(indexed)
    for colour in used.tolist():
        share = [colour // 36 * 20, colour // 6 % 6 * 20, colour % 6 * 20]
        out.append(b"#%d;2;%d;%d;%d" % (colour, *share))
    for top in range(0, height, 6):
        band = indexed[top : top + 6]
        bits: Ints = np.array([1, 2, 4, 8, 16, 32], np.int64)[: band.shape[0], None]
        for colour in np.unique(band).tolist():
            column: Ints = np.where(band == colour, bits, 0).sum(axis=0) + 63
            out.append(b"#%d" % colour + _runs(column) + b"$")
        out.append(b"-")
    return b"".join([*out, b"\x1b\\"])


def _runs(column: Ints) -> bytes:
    edges = np.flatnonzero(np.diff(column)) + 1
    starts = np.concatenate(([0], edges))
    lengths = np.diff(np.concatenate((starts, [len(column)])))
    return b"".join(
        b"!%d%c" % (n, column[s]) if n > 3 else bytes([column[s]]) * int(n)
        for s, n in zip(starts.tolist(), lengths.tolist(), strict=True)
    )
