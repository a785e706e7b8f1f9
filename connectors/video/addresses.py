"""Where a stream comes from: an address in, its kind and what FFmpeg may open for it out.

FFmpeg's own addresses can do much more than name a source (`concat:`, `subfile:`, `pipe:`, play
lists that open further files). So only the schemes listed here get near it, each with the
protocols that it needs and no other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from foveal.errors import DataError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")

PROTOCOLS: Mapping[str, str] = {
    "http": "http,https,tls,tcp",
    "https": "https,tls,tcp",
    "rtsp": "rtsp,rtp,udp,tcp",
    "tcp": "tcp",
    "udp": "udp",
}
"""What FFmpeg may open for an address of each scheme: itself, what it stands on, and for http a
redirection to https."""

_HINT = (
    "a stream is a file (growing.ts, file:///..), http://, https://, rtsp://, tcp://host:port, "
    "udp://host:port or camera:0"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A checked source. `scheme`: file, camera or a key of PROTOCOLS; `text`: what to open."""

    scheme: str
    text: str

    @property
    def live(self) -> bool:
        """Whether the source does not wait for who reads it."""
        return self.scheme != "file"

    @property
    def shown(self) -> str:
        """The address for people: without a password."""
        parts = urlsplit(self.text) if self.scheme in PROTOCOLS else None
        if parts is None or parts.password is None:
            return self.text
        return self.text.replace(f":{parts.password}@", ":***@", 1)


def parse_address(source: str) -> Address:
    """Return the address that `source` means.

    A path may have any name that does not begin as an address does; `file:` before it, or `./`,
    makes it one.

    Raises:
        DataError: 22023, the scheme is none of ours, or the address lacks its host or device.
    """
    if not source.strip() or any(ord(c) < 32 or ord(c) == 127 for c in source):
        raise _wrong(source, "it is empty or holds control characters")
    found = _SCHEME.match(source)
    if found is None or (len(found[1]) == 1 and source[2:3] in ("/", "\\")):
        return Address("file", str(Path(source).expanduser().absolute()))
    scheme = found[1].lower()
    rest = source[found.end() :]
    if scheme == "file":
        return _file(source, rest)
    if scheme == "camera":
        if not re.fullmatch(r"\d{1,3}", rest):
            raise _wrong(source, "a camera is named by its number")
        return Address("camera", rest)
    if scheme not in PROTOCOLS:
        raise _wrong(source, f'"{scheme}:" is no scheme for a stream')
    try:
        parts = urlsplit(source)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _wrong(source, str(error)) from None
    if not rest.startswith("//") or (not host and scheme != "udp"):
        raise _wrong(source, "it names no host")
    if scheme in ("tcp", "udp"):
        if port is None:
            raise _wrong(source, "it names no port")
        if any(name != "timeout" for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
            raise _wrong(source, "what follows the ? would be options of FFmpeg")
    return Address(scheme, source)


def _file(source: str, rest: str) -> Address:
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host not in ("", "localhost") or not slash:
            raise _wrong(source, "a file is on this machine: file:///path")
        rest = "/" + path
    if not rest:
        raise _wrong(source, "it names no file")
    return Address("file", str(Path(rest).expanduser().absolute()))


def _wrong(source: str, why: str) -> DataError:
    return DataError(f'"{source}" is no source of a stream: {why}', sqlstate="22023", hint=_HINT)
