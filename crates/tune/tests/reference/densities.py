"""Densities of Optuna's Parzen estimators, and how it divides trials into good and bad ones.

    python densities.py DENSITIES.JOURNAL > densities.json

Writes one study per case into the journal, and for 125 points of each the logarithms of both
densities. NumPy's default sort puts equal values in an order that depends on the processor, and the
bandwidths depend on this order: here it is stable, which is one of the possible ones. Made with Python 3.11.7, optuna 5.0.0, numpy 2.4.6.
"""
import json
import os
import sys

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers._tpe import parzen_estimator
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.trial import TrialState, create_trial

optuna.logging.set_verbosity(optuna.logging.ERROR)



class StableNumpy:
    """NumPy, with a stable `argsort`."""

    def __getattr__(self, name):
        return getattr(np, name)

    def argsort(self, values):
        return np.argsort(values, kind="stable")


parzen_estimator.np = StableNumpy()

SPACES = {
    "float": {"x": FloatDistribution(-3.0, 7.0)},
    "log float": {"rate": FloatDistribution(1e-6, 1e-1, log=True)},
    "step float": {"dropout": FloatDistribution(0.0, 0.5, step=0.05)},
    "int": {"layers": IntDistribution(1, 12)},
    "int with step": {"width": IntDistribution(16, 528, step=32)},
    "log int": {"width": IntDistribution(4, 4096, log=True)},
    "categorical": {"head": CategoricalDistribution(["linear", "mlp", None, 3, 0.5, True])},
    "mixed": {
        "dropout": FloatDistribution(0.0, 0.5, step=0.1),
        "head": CategoricalDistribution(["linear", "tutorial", "mlp:512"]),
        "layers": IntDistribution(1, 6),
        "momentum": FloatDistribution(0.5, 0.999),
        "rate": FloatDistribution(1e-5, 1e-2, log=True),
        "width": IntDistribution(8, 2048, log=True),
    },
}
# Trials of each study: complete, pruned, running; and the direction.
COUNTS = {
    "float": (60, 0, 0, "minimize"), "log float": (24, 6, 2, "maximize"),
    "step float": (25, 0, 0, "minimize"), "int": (1, 9, 0, "minimize"),
    "int with step": (120, 20, 3, "maximize"), "log int": (300, 0, 0, "minimize"),
    "categorical": (40, 10, 4, "minimize"), "mixed": (70, 30, 5, "minimize"),
}


def draw(rng, distribution, narrow):
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[rng.integers(len(distribution.choices))]
    u = rng.beta(20, 40) if narrow else rng.uniform()
    low, high = distribution.low, distribution.high
    value = np.exp(np.log(low) + u * np.log(high / low)) if distribution.log else low + u * (high - low)
    if distribution.step:
        value = low + round((value - low) / distribution.step) * distribution.step
    value = min(max(value, low), high)
    return int(round(value)) if isinstance(distribution, IntDistribution) else float(value)


path = sys.argv[1]
if os.path.exists(path):
    os.remove(path)
storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(path))
rng = np.random.default_rng(17)
cases = []
for name, space in SPACES.items():
    complete, pruned, running, direction = COUNTS[name]
    study = optuna.create_study(storage=storage, study_name=name, direction=direction)
    states = [TrialState.COMPLETE] * complete + [TrialState.PRUNED] * pruned + [TrialState.RUNNING] * running
    for i, state in enumerate(rng.permutation(np.array(states, dtype=object))):
        params = {k: draw(rng, d, i % 3 == 0) for k, d in space.items()}
        steps = {} if state == TrialState.RUNNING else {s: float(rng.normal()) for s in range(1, int(rng.integers(1, 5)))}
        if state == TrialState.PRUNED and i % 7 == 0:
            steps[1] = float("nan")
        if state == TrialState.RUNNING and i % 2 == 0:
            relative = {"tpe:relative_params:0": json.dumps(params)}
            study.add_trial(create_trial(state=state, system_attrs=relative))
            continue
        study.add_trial(create_trial(
            state=state, params=params, distributions=space, intermediate_values=steps,
            # Rounded, so that some are equal.
            value=round(float(rng.normal()), 1) if state == TrialState.COMPLETE else None,
        ))
    sampler = optuna.samplers.TPESampler(multivariate=True, constant_liar=True)
    trials = study.get_trials(deepcopy=False)
    n = sum(t.state != TrialState.RUNNING for t in trials)
    below, above = _split_trials(study, trials, default_gamma(n))
    estimators = [
        sampler._build_parzen_estimator(study, space, group, handle_below=i == 0)
        for i, group in enumerate((below, above))
    ]
    points = {k: [d.to_internal_repr(draw(rng, d, False)) for _ in range(125)] for k, d in space.items()}
    arrays = {k: np.asarray(v, dtype=float) for k, v in points.items()}
    cases.append({
        "study": name, "below": [t.number for t in below], "above": [t.number for t in above],
        "points": {k: [float(x) for x in v] for k, v in points.items()},
        "log_below": estimators[0].log_pdf(arrays).tolist(),
        "log_above": estimators[1].log_pdf(arrays).tolist(),
    })
print(json.dumps({"optuna": optuna.__version__, "numpy": np.__version__, "cases": cases}, separators=(",", ":")))
