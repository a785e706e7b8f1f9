"""An ONNX file in, a running graph out: the one place that touches ONNX Runtime.

A `Graph` runs batches of pictures and gives every output by name. It is thread-safe: ONNX Runtime's
`run` may be called by many threads, and the graph keeps no state of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.errors import DataError, NotSupportedError, OperationalError
from foveal.udfs.detectors import onnx_file
from foveal.udfs.detectors.family import Outputs, Size
from foveal.udfs.detectors.picture import Image, Picture, fill

_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
_COMPANIONS = ("orig_target_sizes", "scale_factor", "im_shape")
_COMPANION_DTYPES = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
}


@dataclass(frozen=True, slots=True)
class Port:
    """One input of a graph; a dimension is None where the file leaves it open."""

    name: str
    shape: tuple[int | None, ...]
    kind: str


@dataclass(frozen=True, slots=True)
class ModelFile:
    """The bytes of an ONNX file and of the weight files it names; `digest` is over all of them."""

    path: Path
    model: bytes
    weights: Mapping[str, bytes]
    digest: str


def read_file(path: Path) -> ModelFile:
    """Return the file and its weights, all in memory: later changes on disk have no effect.

    Raises:
        OperationalError: 58P01, there is no such file. 58030, it cannot be read, is no ONNX file,
            or wants weights from outside its own folder.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise OperationalError(f'detector file "{path}" does not exist', sqlstate="58P01") from None
    except OSError as error:
        raise OperationalError(
            f'detector file "{path}" cannot be read', sqlstate="58030", detail=str(error)
        ) from error
    try:
        locations = onnx_file.external_locations(content)
    except (ValueError, UnicodeDecodeError) as error:
        raise _unreadable(path, str(error)) from error
    digest = hashlib.sha256(content)
    weights: dict[str, bytes] = {}
    folder = path.resolve().parent
    for location in sorted(locations):
        # ONNX Runtime knows locations that are no paths (memory addresses), so only plain
        # relative paths below the model's own folder are let through.
        pure = PurePosixPath(location.replace("\\", "/"))
        beside = (folder / pure).resolve()
        if pure.is_absolute() or ".." in pure.parts or "*" in location or ":" in location:
            inside = False
        else:
            inside = beside.is_relative_to(folder)
        if not inside:
            raise OperationalError(
                f'detector file "{path}" wants weights from outside its folder',
                sqlstate="58030",
                detail=f"the weights are said to be in {location!r}",
                hint="keep the weights in the folder of the .onnx file",
            )
        try:
            weights[location] = beside.read_bytes()
        except OSError as error:
            raise OperationalError(
                f'weights "{location}" of detector file "{path}" cannot be read',
                sqlstate="58030",
                detail=str(error),
            ) from error
        digest.update(location.encode() + b"\0" + weights[location])
    return ModelFile(path, content, weights, digest.hexdigest())


def _unreadable(path: Path, detail: str) -> OperationalError:
    return OperationalError(
        f'detector file "{path}" is not a readable ONNX model',
        sqlstate="58030",
        detail=detail,
        hint="a file that was cut short in a download looks like this: fetch it again",
    )


def _ort() -> Any:
    import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

    return onnxruntime


class Graph:
    """An open ONNX file: its picture input, its metadata, and `run`."""

    def __init__(self, file: ModelFile, *, threads: int, device: str) -> None:
        """Open the file; `threads` 0 takes all cores; `device` is cpu or cuda.

        Raises:
            OperationalError: 58030, the model is corrupt. 58000, no such device here.
            NotSupportedError: 0A000, it takes something else than one picture.
        """
        self.path = path = file.path
        self._threads = threads
        self._device = device
        self._session = self._opened(file.model, file.weights)
        inputs: list[Port] = [
            Port(
                p.name, tuple(d if isinstance(d, int) and d > 0 else None for d in p.shape), p.type
            )
            for p in self._session.get_inputs()
        ]
        pictures = [p for p in inputs if len(p.shape) == 4 and p.kind in _DTYPES]
        if len(pictures) != 1:
            raise NotSupportedError(
                f'detector file "{path}" does not take one batch of pictures',
                detail="its inputs: " + ", ".join(f"{p.name} {p.kind} {p.shape}" for p in inputs),
            )
        self.input: Port = pictures[0]
        self._companions = [p for p in inputs if p is not self.input]
        for port in self._companions:
            if port.name not in _COMPANIONS or port.kind not in _COMPANION_DTYPES:
                raise NotSupportedError(
                    f'detector file "{path}" wants an input "{port.name}" that foveal cannot give',
                    hint="inputs beside the picture may be " + ", ".join(_COMPANIONS),
                )
        self._outputs: list[str] = [p.name for p in self._session.get_outputs()]
        self.metadata: dict[str, str] = dict(
            self._session.get_modelmeta().custom_metadata_map.items()
        )
        self.planar = self.input.shape[3] != 3 or self.input.shape[1] in (1, 3)
        self.batched = self.input.shape[0] is None
        self.file_size = self.fixed_size

    def _opened(self, model: bytes, weights: Mapping[str, bytes]) -> Any:
        ort = _ort()
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # Spinning threads would take the decoder's core between two frames.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if weights:
            if not hasattr(options, "add_external_initializers_from_files_in_memory"):
                raise OperationalError(
                    f'detector file "{self.path}" keeps its weights in a file of their own, which '
                    "the installed ONNX Runtime cannot be given",
                    hint="pip install --upgrade onnxruntime",
                )
            # Given from memory, so that ONNX Runtime opens no file itself and maps none that
            # could change under it.
            options.add_external_initializers_from_files_in_memory(
                list(weights), list(weights.values()), [len(w) for w in weights.values()]
            )
        providers = ["CPUExecutionProvider"]
        if self._device == "cuda":
            if "CUDAExecutionProvider" not in ort.get_available_providers():
                raise OperationalError(
                    "the installed ONNX Runtime cannot run on cuda",
                    hint="install onnxruntime-gpu, or SET foveal.device = 'cpu'",
                )
            providers.insert(0, "CUDAExecutionProvider")
        try:
            return ort.InferenceSession(model, options, providers=providers)
        except Exception as error:  # ONNX Runtime raises a class per status, all from Exception
            raise _unreadable(self.path, str(error)) from error

    @property
    def fixed_size(self) -> Size | None:
        """The input's height and width, if the file fixes both."""
        height, width = self.input.shape[2:4] if self.planar else self.input.shape[1:3]
        return None if height is None or width is None else Size(height, width)

    def resize(self, file: ModelFile, size: Size) -> None:
        """Open the file again with another input size.

        Raises:
            DataError: 22023, the graph cannot be built at that size.
        """
        axes = (2, 3) if self.planar else (1, 2)
        dims: dict[int, int] = {axes[0]: size.height, axes[1]: size.width}
        fixed = self.fixed_size
        try:
            edited = onnx_file.with_input_size(file.model, self.input.name, dims)
            self._session = self._opened(edited, file.weights)
        except (OperationalError, ValueError) as error:
            raise DataError(
                f"the detector cannot take pictures of {size.width}x{size.height}",
                sqlstate="22023",
                detail=str(getattr(error, "detail", error)),
                hint=None if fixed is None else f"its own input is {fixed.width}x{fixed.height}",
            ) from error
        shape = list(self.input.shape)
        shape[axes[0]], shape[axes[1]] = size
        self.input = replace(self.input, shape=tuple(shape))

    def batch(self, pictures: list[Image], how: Picture) -> npt.NDArray[Any]:
        """Return the input tensor of fitted pictures (all of one size)."""
        height, width = pictures[0].shape[:2]
        shape = (3, height, width) if self.planar else (height, width, 3)
        tensor = np.empty((len(pictures), *shape), dtype=_DTYPES[self.input.kind])
        for slot, picture in zip(tensor, pictures, strict=True):
            fill(slot, picture, how, planar=self.planar)
        return tensor

    def run(self, tensor: npt.NDArray[Any], size: Size) -> Outputs:
        """Return every output of one run, by name.

        Boxes come out in input pixels: heads that scale boxes themselves are told that the picture
        is as large as the input.

        Raises:
            OperationalError: 58030, the model fails on this input.
        """
        feeds: dict[str, npt.NDArray[Any]] = {self.input.name: tensor}
        n = tensor.shape[0]
        for port in self._companions:
            row = {
                "orig_target_sizes": (size.width, size.height),
                "scale_factor": (1.0, 1.0),
                "im_shape": (size.height, size.width),
            }[port.name]
            feeds[port.name] = np.tile(np.array(row, dtype=_COMPANION_DTYPES[port.kind]), (n, 1))
        try:
            values: list[Any] = self._session.run(None, feeds)
        except Exception as error:  # ONNX Runtime raises a class per status, all from Exception
            raise OperationalError(
                f'the detector "{self.path.name}" failed on a picture',
                sqlstate="58030",
                detail=str(error),
            ) from error
        return dict(zip(self._outputs, values, strict=True))
