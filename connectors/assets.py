"""Detectors and sample clips by name: found in the user's folders, else fetched from publishers.

An asset is looked for as an explicit path, then in the folders of `FOVEAL_ASSETS`, then in the
cache; only `resolve` downloads, from the publisher and with a pinned SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from foveal.connectors.cachedir import cache_dir
from foveal.errors import OperationalError, did_you_mean

DownloadProgress = Callable[[str, int, int | None], None]
"""Called with (asset, bytes so far, bytes in all if known); may raise to stop."""

TIMEOUT = 30.0
"""Seconds without a byte after which a download is given up."""

_CHUNK = 2**16


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that its publisher offers. `kind` is detector, classes or clip."""

    name: str
    kind: str
    url: str
    sha256: str
    size: int
    licence: str


_RAW = "https://raw.githubusercontent.com"

ASSETS: tuple[Asset, ...] = (
    Asset(
        "yolox_nano.onnx",
        "detector",
        f"{_RAW}/Kazuhito00/YOLOX-ONNX-TFLite-Sample/3d4f1119/model/yolox_nano.onnx",
        "695e750a5d5754bb5a8d5325643b59282191a7e7a564e435a415fd3c578eab14",
        3_660_092,
        "Apache-2.0 (Megvii YOLOX; exported by Kazuhito00)",
    ),
    Asset(
        "FastestDet.onnx",
        "detector",
        f"{_RAW}/dog-qiuqiu/FastestDet/50473cd1/example/onnx-runtime/FastestDet.onnx",
        "31cb14c017fce347cb4c846ec62fdf00d76bb3beecdf4be21e7116ac67feb880",
        998_169,
        "BSD-3-Clause (xuehao.ma)",
    ),
    Asset(
        "coco.names",
        "classes",
        f"{_RAW}/dog-qiuqiu/FastestDet/50473cd1/configs/coco.names",
        "634a1132eb33f8091d60f2c346ababe8b905ae08387037aed883953b7329af84",
        625,
        "BSD-3-Clause (xuehao.ma)",
    ),
    Asset(
        "one-by-one-person-detection.mp4",
        "clip",
        f"{_RAW}/intel-iot-devkit/sample-videos/57978890822836f2b4743852f04f62fc511757e4/"
        "one-by-one-person-detection.mp4",
        "a5964aa259099a482a8b360ffc2c57b5a30f84d5919236a4dad01f8e929ac07c",
        3_291_918,
        "CC BY 4.0 (Intel)",
    ),
    Asset(
        "bangkok_half_res.mp4",
        "clip",
        f"{_RAW}/pixeltable/pixeltable/15116e92/tests/data/videos/bangkok_half_res.mp4",
        "7507eca9678bcdd3b995f90e1465b34b3991007311bf88111cac85e6f946a73a",
        2_234_371,
        "Apache-2.0 (pixeltable)",
    ),
    Asset(
        "vtest.avi",
        "clip",
        f"{_RAW}/opencv/opencv/0dd31c3bba49e26298458ce2e18969a31dbd7df8/samples/data/vtest.avi",
        "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf",
        8_131_690,
        "Apache-2.0 (OpenCV); footage PETS 2009 S2.L1, University of Reading",
    ),
)
"""Every asset that `resolve` can fetch."""

_EXTENSIONS = {
    "detector": frozenset({".onnx", ".pt", ".pth"}),
    "classes": frozenset({".names", ".txt"}),
    "clip": frozenset({".mp4", ".avi", ".mkv", ".webm", ".mov", ".ts"}),
}


def roots() -> list[Path]:
    """Return the folders that are searched: those of `FOVEAL_ASSETS`, then the cache's.

    A folder of `FOVEAL_ASSETS` is followed by its own subfolders, so that one entry may hold
    `models/` and `video/`.
    """
    folders: list[Path] = []
    for part in os.environ.get("FOVEAL_ASSETS", "").split(os.pathsep):
        if not part:
            continue
        folder = Path(part).expanduser().absolute()
        folders.append(folder)
        if folder.is_dir():
            folders += sorted(child for child in folder.iterdir() if child.is_dir())
    return [*folders, cache_dir("assets")]


def find(name: str, *, kinds: Collection[str] = ()) -> Path | None:
    """Return where an asset lies on this machine, None if it does not; nothing is downloaded.

    `name` is a path, or a file name in one of `roots`; the extension may be left out. `kinds`
    (detector, classes, clip) narrows by extension.

    Raises:
        ValueError: a kind is unknown.
    """
    if unknown := set(kinds) - set(_EXTENSIONS):
        raise ValueError(f"unknown kinds of asset: {sorted(unknown)}")
    wanted = frozenset[str]().union(*(_EXTENSIONS[kind] for kind in kinds))
    given = Path(name).expanduser()
    for path in (given.absolute(), *(folder / given for folder in roots())):
        if path.is_file() and (not wanted or path.suffix.lower() in wanted):
            return path
    if given.suffix:
        return None
    endings = wanted or frozenset[str]().union(*_EXTENSIONS.values())
    for folder in (given.absolute().parent, *((root / given).parent for root in roots())):
        for ending in sorted(endings):
            path = folder / (given.name + ending)
            if path.is_file():
                return path
    return None


def resolve(name: str, *, progress: DownloadProgress | None = None) -> Path:
    """Return where an asset lies, downloading it into the cache if it is nowhere yet.

    Raises:
        OperationalError: 58P01, the name is no file and no known asset; 58000, the download
            failed; 58030, what came is not what was pinned, and was thrown away.
    """
    found = find(name)
    if found is not None:
        return found
    asset = _known(name)
    if asset is None:
        names = [asset.name for asset in ASSETS]
        raise OperationalError(
            f'asset "{name}" does not exist',
            sqlstate="58P01",
            hint=did_you_mean(name, names)
            or "give a path, put it into a folder of FOVEAL_ASSETS, or name one of "
            + ", ".join(names),
            detail="looked in " + ", ".join(str(folder) for folder in (Path.cwd(), *roots())),
        )
    return fetch(asset, progress=progress)


def _known(name: str) -> Asset | None:
    for asset in ASSETS:
        if name.lower() in (asset.name.lower(), Path(asset.name).stem.lower()):
            return asset
    return None


def fetch(asset: Asset, *, progress: DownloadProgress | None = None) -> Path:
    """Download an asset into the cache and return its path; nobody ever sees half of it.

    Raises:
        OperationalError: 58000, the download failed; 58030, its content is not the pinned one.
    """
    target = cache_dir("assets") / asset.name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".part-", delete=False) as file:
            try:
                _download(asset, file, progress)
                os.replace(file.name, target)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        reason = getattr(error, "reason", error)
        raise OperationalError(
            f'asset "{asset.name}" could not be downloaded: {reason}',
            sqlstate="58000",
            hint=f"offline? fetch {asset.url} elsewhere, put it into a folder and name that in "
            "FOVEAL_ASSETS; `foveal demo` needs no download",
        ) from error
    return target


def _download(asset: Asset, file: IO[bytes], progress: DownloadProgress | None) -> None:
    digest = hashlib.sha256()
    size = 0
    for chunk in _chunks(asset):
        digest.update(chunk)
        size += len(chunk)
        if size > asset.size:
            break  # already not the pinned content; the publisher's length is not to be trusted
        file.write(chunk)
        if progress is not None:
            progress(asset.name, size, asset.size)
    file.flush()
    if digest.hexdigest() != asset.sha256:
        raise OperationalError(
            f'asset "{asset.name}" from {asset.url} is not the expected file',
            sqlstate="58030",
            hint="the publisher changed it, or something on the way did; it was thrown away",
            detail=f"expected SHA-256 {asset.sha256}, {asset.size} bytes; got {digest.hexdigest()}",
        )


def _chunks(asset: Asset) -> Iterator[bytes]:
    request = urllib.request.Request(asset.url, headers={"User-Agent": "foveal"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        while chunk := answer.read(_CHUNK):
            yield chunk
