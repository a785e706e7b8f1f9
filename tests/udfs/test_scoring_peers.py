"""Models of the libraries themselves, where they are installed: sums to the last bit."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from foveal.udfs.scoring.forest import Forest
from foveal.udfs.scoring.loading import model_of
from foveal.udfs.scoring.model import ScoringModel

pytestmark = pytest.mark.filterwarnings("ignore")
ROWS = 1200


def rows(seed: int, *, low: int = -3, high: int = 70) -> Any:
    """Return rows with missing values, zeros, and categories in the last feature."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((ROWS, 4)).astype(np.float32).astype(np.float64)
    x[random.random(x.shape) < 0.1] = np.nan
    x[random.random(ROWS) < 0.2, 1] = 0
    x[:, 3] = random.integers(low, high, ROWS)
    return x


TRAIN, TEST = rows(0, low=0, high=60), rows(1)
TEST[:12, 0] = [0, -0.0, 1e-36, -1e-36, 1e-34, np.inf, -np.inf, 3e38, -3e38, 1e-45, -1e-45, 1]
TEST[:5, 3] = [np.nan, -0.5, 1e20, -1e20, 3.7]
TARGET = (np.nan_to_num(TRAIN[:, 0]) + TRAIN[:, 3] % 2 > 0.5).astype(int)
CLASSES = np.random.default_rng(2).integers(0, 3, ROWS)


def outputs(model: ScoringModel, x: Any) -> Any:
    return np.stack(model.predict(list(x.T), [None] * x.shape[1]), axis=1)


def at_thresholds(model: ScoringModel, x: Any) -> Any:
    """Return rows, half of whose values are exactly thresholds of the model.

    But for the edges of LightGBM's zeros: it reads its own "1.0000000180025095e-35" one unit in the
    last place off.
    """
    assert isinstance(model, Forest)
    random = np.random.default_rng(3)
    out = x.copy()
    for feature in range(3):
        limits = model.nodes.threshold[model.nodes.feature == feature]
        limits = limits[np.abs(limits) > 1e-30]
        if len(limits):
            take = random.random(len(x)) < 0.5
            out[take, feature] = random.choice(limits, int(take.sum()))
    return out


LIGHTGBM: list[dict[str, Any]] = [
    {"objective": "binary", "sigmoid": 1.7},
    {"objective": "binary", "num_leaves": 200, "min_data_in_leaf": 2},
    {"objective": "multiclass", "num_class": 3},
    {"objective": "multiclassova", "num_class": 3},
    {"objective": "poisson"},
    {"objective": "regression", "reg_sqrt": True},
    {"objective": "cross_entropy_lambda"},
    {"objective": "binary", "zero_as_missing": True},
    {"objective": "binary", "use_missing": False},
    {"objective": "binary", "boosting": "dart"},
    {"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6},
]


@pytest.mark.parametrize("settings", LIGHTGBM, ids=lambda s: "-".join(map(str, s.values())))
def test_lightgbm(settings: dict[str, Any]) -> None:
    lightgbm: Any = pytest.importorskip("lightgbm", reason="trains with LightGBM")
    target = CLASSES if "num_class" in settings else TARGET
    data = lightgbm.Dataset(TRAIN, target, categorical_feature=[3])
    given = {"num_leaves": 31, "min_data_in_leaf": 5, **settings, "verbosity": -1, "num_threads": 1}
    booster = lightgbm.train(given, data, 12)
    model = model_of(booster.model_to_string().encode())
    x = at_thresholds(model, TEST)
    wanted = booster.predict(x, raw_score=True).reshape(ROWS, -1)
    if settings.get("boosting") == "rf":
        wanted = wanted / 12  # LightGBM's raw scores of a random forest are sums, not means
    np.testing.assert_array_equal(outputs(model.raw(), x), wanted)
    np.testing.assert_allclose(outputs(model, x), booster.predict(x).reshape(ROWS, -1), rtol=1e-15)
    assert isinstance(model, Forest)
    narrow = x.astype(np.float32)
    wide = booster.predict(narrow.astype(np.float64)).reshape(ROWS, -1)
    np.testing.assert_allclose(outputs(model.over_floats(), narrow), wide, rtol=1e-15)


XGBOOST: list[dict[str, Any]] = [
    {"objective": "binary:logistic"},
    {"objective": "binary:logistic", "max_depth": 9, "min_child_weight": 0.1},
    {"objective": "multi:softprob", "num_class": 3},
    {"objective": "multi:softmax", "num_class": 3},
    {"objective": "count:poisson"},
    {"objective": "reg:absoluteerror"},
    {"objective": "binary:hinge"},
    {"objective": "binary:logistic", "booster": "dart", "rate_drop": 0.3},
    {"objective": "binary:logistic", "num_parallel_tree": 3},
]


@pytest.mark.parametrize("form", ["json", "ubj"])
@pytest.mark.parametrize("settings", XGBOOST, ids=lambda s: "-".join(map(str, s.values())))
def test_xgboost(settings: dict[str, Any], form: str) -> None:
    xgboost: Any = pytest.importorskip("xgboost", reason="trains with XGBoost")
    target = CLASSES if "num_class" in settings else TARGET
    given = {"max_depth": 4, **settings, "nthread": 1}
    types = {"feature_types": ["q", "q", "q", "c"], "enable_categorical": True}
    booster = xgboost.train(given, xgboost.DMatrix(TRAIN, target, **types), 8)
    model = model_of(bytes(booster.save_raw(form)))
    x = at_thresholds(model, TEST)
    # The library itself refuses categories that it was not trained with, and infinities.
    x[:, 3], x[np.isinf(x)] = rows(5, low=0, high=60)[:, 3], 1.0
    data = xgboost.DMatrix(x.astype(np.float32), **types)
    wanted = booster.predict(data, output_margin=True).reshape(ROWS, -1)
    np.testing.assert_array_equal(outputs(model.raw(), x), wanted)
    np.testing.assert_allclose(
        outputs(model, x), booster.predict(data).reshape(ROWS, -1), rtol=2.5e-7
    )


def sklearn_models() -> list[tuple[str, Any, Any]]:
    """Return models with their targets."""
    ensemble, linear_model, neural_network, pipeline, preprocessing = (
        pytest.importorskip(f"sklearn.{part}", reason="trains with scikit-learn")
        for part in ("ensemble", "linear_model", "neural_network", "pipeline", "preprocessing")
    )
    x = np.nan_to_num(TRAIN)
    yes, amount = (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(int), x[:, 0] * 2
    net: dict[str, Any] = {"max_iter": 5, "random_state": 0}
    return [
        ("random forest", ensemble.RandomForestClassifier(9, max_depth=5, random_state=0), yes),
        ("deep forest", ensemble.RandomForestClassifier(5, random_state=0), CLASSES),
        ("forest of numbers", ensemble.ExtraTreesRegressor(5, random_state=0), amount),
        ("boosted", ensemble.GradientBoostingClassifier(n_estimators=9, random_state=0), yes),
        ("boosted classes", ensemble.GradientBoostingClassifier(n_estimators=3), CLASSES),
        ("boosted numbers", ensemble.GradientBoostingRegressor(n_estimators=9), amount),
        ("logistic", linear_model.LogisticRegression(), yes),
        ("logistic classes", linear_model.LogisticRegression(), CLASSES),
        ("linear", linear_model.LinearRegression(), amount),
        ("scaled", pipeline.make_pipeline(preprocessing.StandardScaler(),
                                          linear_model.LogisticRegression()), yes),
        ("network", neural_network.MLPClassifier((5,), **net), yes),
        ("network of classes", neural_network.MLPClassifier((5, 4), activation="logistic", **net),
         CLASSES),
        ("network of numbers",
         neural_network.MLPRegressor(hidden_layer_sizes=(5, 4), activation="tanh", **net), amount),
    ]  # fmt: skip


@pytest.mark.parametrize("name", [
    "random forest", "deep forest", "forest of numbers", "boosted", "boosted classes",
    "boosted numbers", "logistic", "logistic classes", "linear", "scaled", "network",
    "network of classes", "network of numbers",
])  # fmt: skip
def test_scikit_learn_through_onnx(name: str) -> None:
    skl2onnx: Any = pytest.importorskip("skl2onnx", reason="writes scikit-learn's models as ONNX")
    runtime: Any = pytest.importorskip("onnxruntime", reason="compares with ONNX Runtime")
    ((estimator, target),) = [(m, y) for known, m, y in sklearn_models() if known == name]
    x = np.nan_to_num(TRAIN).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(x, target)
        classifies = hasattr(estimator, "predict_proba")
        options = {id(estimator): {"zipmap": False}} if classifies else None
        written = skl2onnx.to_onnx(estimator, x[:1], options=options).SerializeToString()
    model = model_of(written)
    test = np.nan_to_num(TEST, posinf=3, neginf=-3).astype(np.float32)
    if isinstance(model, Forest) and model.shift.trivial:
        test = at_thresholds(model, test.astype(np.float64)).astype(np.float32)
    # With more threads ONNX Runtime adds up the trees in another order.
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(written, options, providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"X": test})[-1].reshape(ROWS, -1)
    got = outputs(model, test)
    if isinstance(model, Forest) and model.link == "identity":
        np.testing.assert_array_equal(got, wanted)
    else:
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=2e-6 if "network" in name else 3e-7)
