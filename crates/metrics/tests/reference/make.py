"""Reference values for taper-metrics: scikit-learn, scipy and Keras on seeded data.

    python make.py > reference.json

Made with Python 3.11.7, scikit-learn 1.9.1, scipy 1.17.1, numpy 2.4.6, keras 3.15.1 (TensorFlow 2.21.0).
"""
import json
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np
import scipy
import sklearn
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve


def ece(confidence, correct, weights, bins):
    """Guo et al. 2017, from scikit-learn's own binning (weights by repetition are not supported there)."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    ids = np.searchsorted(edges[1:-1], confidence)
    if np.all(weights == 1.0):
        accuracy, mean_confidence = calibration_curve(correct, confidence, n_bins=bins, strategy="uniform")
        share = np.bincount(ids, minlength=bins)
        share = share[share > 0] / len(ids)
        gaps = np.abs(accuracy - mean_confidence)
    else:
        w = np.bincount(ids, weights=weights, minlength=bins)
        keep = w > 0
        accuracy = np.bincount(ids, weights=weights * correct, minlength=bins)[keep] / w[keep]
        mean_confidence = np.bincount(ids, weights=weights * confidence, minlength=bins)[keep] / w[keep]
        share = w[keep] / w.sum()
        gaps = np.abs(accuracy - mean_confidence)
    return float((share * gaps).sum()), float(gaps.max())


def case(name, seed, n, k, scale=2.0, absent=(), never=(), weighted=False, bins=15, top_k=None, shift=0.0):
    rng = np.random.default_rng(seed)
    labels = rng.choice([c for c in range(k) if c not in absent], size=n)
    logits = rng.normal(size=(n, k)) * scale
    logits[np.arange(n), labels] += scale
    for c in never:
        logits[:, c] = -30.0 * scale
    logits = (np.round(logits, 3) + shift).astype(np.float32)
    weights = np.round(rng.uniform(0.0, 3.0, size=n), 2).astype(np.float32) if weighted else np.ones(n, np.float32)
    w = weights.astype(np.float64)
    log_p = scipy.special.log_softmax(logits.astype(np.float64), axis=1)
    p = np.exp(log_p)
    predicted = logits.argmax(axis=1)
    all_labels = list(range(k))
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        labels, predicted, labels=all_labels, sample_weight=w, zero_division=0
    )
    expected, maximum = ece(p.max(axis=1), (predicted == labels).astype(float), w, bins)
    p32 = p.astype(np.float32)
    keras_loss = keras.losses.SparseCategoricalCrossentropy(reduction="none")(labels, p32).numpy().astype(np.float64)
    return {
        "name": name, "n": n, "classes": k, "bins": bins, "top_k": top_k,
        "logits": [float(np.format_float_positional(x)) for x in logits.ravel()],
        "labels": labels.tolist(),
        "weights": [float(np.format_float_positional(x)) for x in weights] if weighted else None,
        # scikit-learn's log_loss clips at 2e-16, which matters only beyond a loss of 36.
        "loss": float(sk.log_loss(labels, p, labels=all_labels, sample_weight=w)) if abs(shift) == 0 and scale < 5 and not never
        else float(np.average(-log_p[np.arange(n), labels], weights=w)),
        "loss_from_probabilities": float(np.average(keras_loss, weights=w)),
        "accuracy": float(sk.accuracy_score(labels, predicted, sample_weight=w)),
        "balanced_accuracy": float(np.average(recall[support > 0])) if absent
        else float(sk.balanced_accuracy_score(labels, predicted, sample_weight=w)),
        "macro_f1": float(sk.f1_score(labels, predicted, labels=all_labels, average="macro", sample_weight=w, zero_division=0)),
        "top_k_accuracy": float(sk.top_k_accuracy_score(labels, p, k=top_k, labels=all_labels, sample_weight=w)) if top_k else None,
        "precision": precision.tolist(), "recall": recall.tolist(), "f1": f1.tolist(),
        "support": [float(s) for s in sk.confusion_matrix(labels, predicted, labels=all_labels, sample_weight=w).sum(axis=1)],
        "confusion": sk.confusion_matrix(labels, predicted, labels=all_labels, sample_weight=w).astype(float).tolist(),
        "expected_calibration_error": expected, "maximum_calibration_error": maximum,
    }


cases = [
    case("three classes", 0, 120, 3, top_k=2),
    case("two classes", 1, 75, 2, bins=10),
    case("ten classes", 2, 150, 10, scale=1.2, top_k=3),
    case("weighted", 3, 90, 4, weighted=True, top_k=2, bins=7),
    case("a class without samples", 4, 60, 4, absent=(2,)),
    case("a class never predicted", 5, 60, 4, never=(1,), top_k=3),
    case("large logits", 6, 50, 3, scale=400.0),
    case("shifted logits", 7, 50, 3, shift=8192.0),
]
out = {"sklearn": sklearn.__version__, "scipy": scipy.__version__, "numpy": np.__version__, "keras": keras.__version__, "cases": cases}
print(json.dumps(out, separators=(",", ":")))
