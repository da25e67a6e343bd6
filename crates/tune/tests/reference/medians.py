"""Best values that Optuna's TPE and random search find on three objectives in 60 trials.

    python medians.py > medians.json

Made with Python 3.11.7, optuna 5.0.0, numpy 2.4.6; seeds 0 to 399, three minutes.
"""
import json
import math
import statistics

import numpy
import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)


def sphere(trial):
    return sum((trial.suggest_float(f"x{i}", -5.0, 5.0) - 0.5 * i) ** 2 for i in range(5))


def branin(trial):
    x = trial.suggest_float("x", -5.0, 10.0)
    y = trial.suggest_float("y", 0.0, 15.0)
    a = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return a**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


PENALTY = {"sgd": 0.4, "adam": 0.0, "adamw": 0.1, "lion": 0.3}


def mixed(trial):
    rate = trial.suggest_float("rate", 1e-5, 1e-1, log=True)
    width = trial.suggest_int("width", 16, 1024, log=True)
    layers = trial.suggest_int("layers", 1, 8)
    dropout = trial.suggest_float("dropout", 0.0, 0.5, step=0.1)
    optimizer = trial.suggest_categorical("optimizer", list(PENALTY))
    best = -3.0 if optimizer == "adam" else -2.0
    return (
        (math.log10(rate) - best) ** 2 + 0.1 * (math.log2(width) - 7.0) ** 2
        + 0.05 * (layers - 3) ** 2 + 2.0 * (dropout - 0.2) ** 2 + PENALTY[optimizer]
    )


def best(sampler, objective):
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=60)
    return study.best_value


result = {"optuna": optuna.__version__, "numpy": numpy.__version__, "seeds": 400, "trials": 60}
for objective in (sphere, branin, mixed):
    tpe = [
        best(optuna.samplers.TPESampler(seed=s, multivariate=True, constant_liar=True), objective)
        for s in range(400)
    ]
    random = [best(optuna.samplers.RandomSampler(seed=s), objective) for s in range(400)]
    result[objective.__name__] = {
        "tpe": statistics.median(tpe), "random": statistics.median(random),
        "quartiles": statistics.quantiles(tpe, n=4),
    }
print(json.dumps(result, indent=1))
