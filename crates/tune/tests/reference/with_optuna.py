"""Optuna's part of the test `with_optuna`.

    python with_optuna.py list JOURNAL STUDY        what Optuna sees, as JSON
    python with_optuna.py run JOURNAL STUDY TRIALS [open]   goes on, with the other kind of lock

Written for optuna 5.0.0; works with 4.x.
"""
import json
import sys
import warnings

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)
command, path, name = sys.argv[1:4]
lock = JournalFileOpenLock(path) if "open" in sys.argv else None
storage = JournalStorage(JournalFileBackend(path, lock_obj=lock))
sampler = optuna.samplers.TPESampler(seed=1, multivariate=True, constant_liar=True)
study = optuna.load_study(storage=storage, study_name=name, sampler=sampler)


def objective(trial):
    x = trial.suggest_float("x", -5.0, 5.0)
    rate = trial.suggest_float("rate", 1e-4, 1.0, log=True)
    layers = trial.suggest_int("layers", 1, 9, step=2)
    shape = trial.suggest_categorical("shape", ["flat", "steep"])
    trial.report(x, 1)
    return x**2 + rate + 0.1 * layers + (shape == "steep")


if command == "run":
    study.optimize(objective, n_trials=int(sys.argv[4]))
else:
    best = study.best_trial
    print(json.dumps({
        "directions": [d.name for d in study.directions],
        "attributes": study.user_attrs,
        "best": [best.number, best.value],
        "trials": [
            {
                "number": t.number, "state": t.state.name, "params": t.params,
                "value": None if t.value is None else repr(t.value),
                "steps": {str(k): repr(v) for k, v in t.intermediate_values.items()},
                "user_attrs": sorted(t.user_attrs),
                "seconds": t.duration.total_seconds() if t.duration else None,
            }
            for t in study.trials
        ],
    }))
