"""What is made of raw outputs, in NumPy: the reference of the kernels' last step."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.udfs.scoring.kinds import Kind

Array = npt.NDArray[Any]


def linked(kind: Kind, raw: Array, scale: float) -> list[Array]:
    """Return a model's outputs [rows] each from its raw ones [rows, raw].

    Exponentials are computed in doubles and rounded to the outputs' type. `scale`: of `logistic`.
    """
    out_type = np.float32 if kind.sum_bits == 32 else np.float64
    wide = raw.astype(np.float64)
    with np.errstate(all="ignore"):
        match kind.link:
            case "identity":
                made = wide
            case "logistic":
                made = 1.0 / (1.0 + np.exp(-scale * wide))
            case "exp":
                made = np.exp(wide)
            case "softplus":
                made = np.log1p(np.exp(wide))
            case "square":
                made = wide * np.abs(wide)
            case "step":
                made = (wide > 0).astype(np.float64)
            case "softmax":
                powers = np.exp(wide - wide.max(axis=1, keepdims=True))
                total = np.zeros(len(powers))
                for k in range(powers.shape[1]):
                    total = total + powers[:, k]
                made = powers / total[:, None]
            case "argmax":
                made = wide.argmax(axis=1)[:, None].astype(np.float64)
        columns = [made[:, k].astype(out_type) for k in range(made.shape[1])]
    if kind.pair:
        columns.insert(0, (1 - columns[0]).astype(out_type))
    return columns
