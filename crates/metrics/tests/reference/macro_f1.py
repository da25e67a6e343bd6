"""Macro F1 where classes occur neither as truth nor as prediction: scikit-learn's.

    python macro_f1.py > macro_f1.json

Made with Python 3.11.7, scikit-learn 1.9.1, numpy 2.4.6.
"""
import json

import numpy as np
import sklearn
from sklearn.metrics import f1_score


def case(name, labels, predicted, classes, weights=None):
    return {
        "name": name, "classes": classes, "labels": labels, "predicted": predicted, "weights": weights,
        "macro_f1": float(f1_score(labels, predicted, average="macro", sample_weight=weights, zero_division=0)),
    }


rng = np.random.default_rng(15)
many = rng.choice([0, 3, 4, 17], size=80)
guesses = np.where(rng.uniform(size=80) < 0.7, many, rng.choice([0, 3, 9, 17], size=80))
cases = [
    case("one class of three in neither", [0, 0, 1, 1, 1], [0, 1, 1, 1, 0], 3),
    case("in the truth alone", [0, 0, 1, 2, 2], [0, 0, 1, 1, 0], 4),
    case("in the prediction alone", [0, 0, 1, 1, 1], [0, 3, 1, 3, 1], 5),
    case("a single class, all right", [2, 2, 2], [2, 2, 2], 4),
    case("a single class, all wrong", [2, 2, 2], [0, 1, 0], 4),
    case("four of twenty", many.tolist(), guesses.tolist(), 20),
    case("weighted", [0, 0, 1, 1, 4], [0, 1, 1, 4, 4], 6, [0.5, 2.0, 1.0, 0.25, 3.0]),
]
print(json.dumps({"sklearn": sklearn.__version__, "numpy": np.__version__, "cases": cases}, separators=(",", ":")))
