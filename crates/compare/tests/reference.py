"""Reference values for taper-compare: scipy 1.x and statsmodels' formulas, written out.

pip install scipy; python reference.py > reference.json
"""

import json
import math
import random

from scipy.stats import binomtest, norm, ttest_rel

Z = norm.ppf(0.975)


def wilson(p, n):
    centre = p + Z * Z / (2 * n)
    reach = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return (centre - reach) / (1 + Z * Z / n), (centre + reach) / (1 + Z * Z / n)


def newcombe(a, b, c, d):
    """Method 10 of Newcombe (1998), Statistics in Medicine 17, 2635-2650."""
    n = a + b + c + d
    p1, p2 = (a + b) / n, (a + c) / n
    (l1, u1), (l2, u2) = wilson(p1, n), wilson(p2, n)
    product = math.sqrt((a + b) * (c + d) * (a + c) * (b + d))
    excess = a * d - b * c
    if excess > 0:
        excess = max(excess - n / 2, 0)
    phi = excess / product if product else 0
    low = math.sqrt((p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2)
    high = math.sqrt((u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2)
    return p1 - p2 - low, p1 - p2 + high


random.seed(0)
counts = [(36, 12, 2, 0), (300, 10, 25, 37), (0, 0, 0, 5), (9, 0, 0, 0), (5, 1, 1, 5), (0, 7, 0, 0)]
counts += [tuple(random.randint(0, m) for m in (400, 40, 40, 60)) for _ in range(40)]
pairs = []
for a, b, c, d in counts:
    p = binomtest(b, b + c).pvalue if b + c else 1.0
    pairs.append({"counts": [a, b, c, d], "p": p, "interval": newcombe(a, b, c, d)})
means = []
for n in [2, 3, 5, 5, 10, 30]:
    first = [random.uniform(0.8, 1) for _ in range(n)]
    second = [x + random.gauss(0.01, 0.02) for x in first]
    test = ttest_rel(first, second)
    low, high = test.confidence_interval(0.95)
    means.append({"first": first, "second": second, "p": test.pvalue, "interval": [low, high]})
print(json.dumps({"pairs": pairs, "means": means}))
