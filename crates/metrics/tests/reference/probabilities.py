"""Reference values for the figures of probabilities: scikit-learn, torchmetrics, netcal.

    python probabilities.py > probabilities.json

Made with the versions that the answer names.
"""
import json

import netcal
import numpy as np
import scipy
import sklearn
import torch
import torchmetrics
from netcal.metrics import ECE, MCE
from scipy.optimize import minimize_scalar
from sklearn import metrics as sk
from torchmetrics.classification import MulticlassCalibrationError

BINS = 15


def risk_coverage(confidence, correct):
    """By definition: the mean of the error rate among the k most confident, for k = 1..n."""
    order = np.argsort(-confidence, kind="stable")
    assert len(np.unique(confidence)) == len(confidence), "no ties here"
    errors = np.cumsum(~correct[order])
    return float(np.mean(errors / np.arange(1, len(confidence) + 1)))


def case(name, seed, n, k, scale):
    rng = np.random.default_rng(seed)
    labels = rng.integers(k, size=n)
    logits = rng.normal(size=(n, k)) * scale
    logits[np.arange(n), labels] += scale
    logits = np.round(logits, 3).astype(np.float32)
    z = logits.astype(np.float64)
    nll = lambda t: float(-scipy.special.log_softmax(z / t, axis=1)[np.arange(n), labels].mean())
    fitted = minimize_scalar(lambda t: nll(np.exp(t)), bounds=(-5, 5), method="bounded", options={"xatol": 1e-13})
    rows = []
    for temperature in (1.0, 0.5, 2.5):
        p = scipy.special.softmax(z / temperature, axis=1)
        confidence, correct = p.max(axis=1), logits.argmax(axis=1) == labels
        torch_p = torch.tensor(p, dtype=torch.float64)
        # torchmetrics puts a confidence at an edge into the bin above; there is none at an edge here.
        ece = MulticlassCalibrationError(num_classes=k, n_bins=BINS, norm="l1")
        mce = MulticlassCalibrationError(num_classes=k, n_bins=BINS, norm="max")
        ece.set_dtype(torch.float64), mce.set_dtype(torch.float64)
        rows.append({
            "temperature": temperature,
            "loss": float(sk.log_loss(labels, p, labels=list(range(k)))),
            "brier": float(sk.brier_score_loss(labels, p, labels=list(range(k)), scale_by_half=False)),
            "aurc": risk_coverage(confidence, correct),
            "ece_netcal": float(ECE(BINS).measure(p, labels)) if k > 2 else None,
            "mce_netcal": float(MCE(BINS).measure(p, labels)) if k > 2 else None,
            "ece_torchmetrics": float(ece(torch_p, torch.tensor(labels))),
            "mce_torchmetrics": float(mce(torch_p, torch.tensor(labels))),
            # Whether the confidence tells right from wrong.
            "auroc": float(sk.roc_auc_score(correct, confidence)),
            "auroc_rounded": float(sk.roc_auc_score(correct, np.round(confidence, 1))),
        })
    return {
        "name": name, "classes": k, "labels": labels.tolist(),
        "logits": [float(np.format_float_positional(x)) for x in logits.ravel()],
        "temperature": float(np.exp(fitted.x)), "loss_at_temperature": float(fitted.fun), "at": rows,
    }


cases = [
    case("three classes, overconfident", 0, 120, 3, 4.0),
    case("two classes", 1, 90, 2, 1.0),
    case("ten classes, underconfident", 2, 150, 10, 1.3),
]
versions = {m.__name__: m.__version__ for m in (sklearn, scipy, np, torch, torchmetrics)}
print(json.dumps({**versions, "netcal": getattr(netcal, "__version__", "?"), "cases": cases}, separators=(",", ":")))
