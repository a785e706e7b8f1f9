"""Model files of any known format, by what they begin with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from foveal.errors import DataError, OperationalError
from foveal.udfs.scoring.lightgbm_text import HEAD, read_lightgbm
from foveal.udfs.scoring.model import ScoringModel
from foveal.udfs.scoring.onnx_model import read_onnx
from foveal.udfs.scoring.xgboost_json import read_xgboost

MAX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Format:
    """A file format: its name, how its bytes begin, what reads them."""

    name: str
    begins: Callable[[bytes], bool]
    read: Callable[[bytes], ScoringModel]


FORMATS = (
    Format("LightGBM", lambda head: head.replace(b"\r\n", b"\n").startswith(HEAD), read_lightgbm),
    Format("XGBoost", lambda head: head.lstrip()[:1] == b"{", read_xgboost),
    # A ModelProto begins with its version of the format: field 1, a small integer.
    Format("ONNX", lambda head: head[:1] == b"\x08", read_onnx),
)


def load_model(path: str | Path) -> ScoringModel:
    """Return the model of a file. Nothing in the file is run.

    Raises:
        OperationalError: 58030: the file cannot be read.
        DataError: 22023: it is of no known format, or not whole.
        NotSupportedError: 0A000: it does something that we do not run.
    """
    try:
        size = Path(path).stat().st_size
        if size > MAX_BYTES:
            raise DataError(
                f"model file {path} is larger than {MAX_BYTES >> 30} GiB", sqlstate="22023"
            )
        data = Path(path).read_bytes()
    except OSError as error:
        raise OperationalError(
            f"model file {path} cannot be read: {error.strerror}", sqlstate="58030"
        ) from error
    return model_of(data, str(path))


def model_of(data: bytes, name: str = "") -> ScoringModel:
    """Return the model that some bytes hold.

    Raises:
        DataError: 22023: they are of no known format, or not whole.
        NotSupportedError: 0A000: the model does something that we do not run.
    """
    for known in FORMATS:
        if known.begins(data[:64]):
            return known.read(data)
    raise DataError(
        f"model file {name} is of no known format",
        sqlstate="22023",
        hint="known are LightGBM's text, XGBoost's JSON and UBJSON, and ONNX; pickles are not read",
    )
