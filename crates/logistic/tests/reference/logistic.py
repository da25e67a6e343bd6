"""Reference values of `crates/logistic/tests/scikit.rs`: scikit-learn's LogisticRegression (lbfgs, tolerance 1e-12).

The rows are formulas, so that the test can make them again. Run: python logistic.py > logistic.json   (versions are in the file)
"""
import json, sys
import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression


def rows(n, width, classes):
    """Overlapping classes: each row is its class's direction plus waves."""
    i, j = np.arange(n)[:, None], np.arange(width)[None, :]
    labels = (np.arange(n) * 7 % 11) % classes
    x = np.sin(0.7 * i * (1 + j % 5) + 0.3 * j) + 0.8 * np.cos(1.1 * j + 2.0 * labels[:, None]) + 0.5
    return x.astype(np.float32), labels


cases = []
for name, n, width, classes, strength, weighted in [
    ("three", 60, 7, 3, 1.0, False),
    ("weak", 60, 7, 3, 0.01, False),
    ("strong", 90, 5, 4, 100.0, False),
    ("wide", 24, 60, 3, 0.5, False),
    ("weighted", 60, 9, 5, 2.0, True),
    ("two", 50, 6, 2, 0.7, False),
]:
    x, y = rows(n, width, classes)
    weights = (0.5 + np.arange(n) % 4) if weighted else np.ones(n)
    # With two classes scikit-learn has one row of coefficients: the difference of the two rows of the multinomial form, which
    # is C · loss + ½ · 2 · ‖w / 2‖², so that its own C is twice as large.
    own = 2 * strength if classes == 2 else strength
    m = LogisticRegression(C=own, tol=1e-12, max_iter=100_000).fit(x.astype(np.float64), y, weights)
    weight, bias = m.coef_, m.intercept_
    if classes == 2:
        weight, bias = np.concatenate([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
    z = x.astype(np.float64) @ weight.T + bias
    z -= z.max(1, keepdims=True)
    loss = np.log(np.exp(z).sum(1)) - z[np.arange(n), y]
    objective = strength * (weights * loss).sum() + 0.5 * (weight**2).sum()
    cases.append({"name": name, "rows": n, "width": width, "classes": classes, "strength": strength, "weighted": weighted,
                  "objective": objective, "weight": weight.flatten().tolist(), "bias": bias.tolist()})
versions = {"scikit-learn": sklearn.__version__, "numpy": np.__version__, "python": sys.version.split()[0]}
json.dump({"versions": versions, "cases": cases}, sys.stdout, indent=1)
