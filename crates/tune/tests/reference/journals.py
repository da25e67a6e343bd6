"""A journal with everything that Optuna writes, and what Optuna reads from it.

    python journals.py OPTUNA.JOURNAL > optuna.json

The importance is that of PedAnovaImportanceEvaluator. Made with Python 3.11.7, optuna 5.0.0,
numpy 2.4.6.
"""
import json
import math
import os
import sys
import warnings

import optuna
from optuna.importance import PedAnovaImportanceEvaluator

warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)


def objective(trial):
    rate = trial.suggest_float("rate", 1e-5, 1e-1, log=True)
    head = trial.suggest_categorical("head", ["linear", None, 2, 0.5, False])
    layers = trial.suggest_int("layers", 1, 9, step=2)
    width = trial.suggest_int("width", 4, 512, log=True)
    dropout = trial.suggest_float("dropout", 0.0, 0.5, step=0.1)
    momentum = trial.suggest_float("momentum", 0.5, 0.99)
    extra = trial.suggest_float("extra", -1.0, 1.0) if head == "linear" else 0.0
    trial.set_user_attr("note", {"text": 'NaN, "quoted": Infinity ü', "score": float("nan")})
    value = (math.log10(rate) + 3) ** 2 + 0.1 * layers + (dropout - 0.2) ** 2 + 0.3 * extra
    value += 0.2 * (head == 2) + 0.01 * momentum + 0.001 * width
    for step in range(1, 5):
        if trial.number == 7 and step == 2:
            trial.report(float("nan"), step)
        else:
            trial.report(value + 1.0 / step, step)
        if step == 2 and trial.number % 6 == 5:
            raise optuna.TrialPruned()
    if trial.number == 8:
        return float("inf")
    if trial.number == 9:
        return float("nan")
    if trial.number == 10:
        raise ValueError("on purpose")
    return value


path = sys.argv[1]
if os.path.exists(path):
    os.remove(path)
storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(path))
optuna.create_study(storage=storage, study_name="deleted").optimize(lambda t: t.suggest_float("x", 0, 1), n_trials=2)
optuna.delete_study(storage=storage, study_name="deleted")
study = optuna.create_study(
    storage=storage, study_name="everything", sampler=optuna.samplers.TPESampler(seed=3)
)
study.set_user_attr("data", "synthetic")
study.enqueue_trial({"rate": 1e-3, "head": None})
study.optimize(objective, n_trials=60, catch=(ValueError,))
other = optuna.create_study(
    storage=storage, study_name="upwards", direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1)
)
other.optimize(lambda t: -(t.suggest_float("x", -2, 2) ** 2) + 0.1 * t.suggest_int("n", 0, 200), n_trials=40)
optuna.create_study(storage=storage, study_name="two", directions=["minimize", "maximize"])
study.enqueue_trial({"rate": 0.01, "layers": 5})
left = study.ask()
left = study.ask()
left.suggest_float("rate", 1e-5, 1e-1, log=True)
left.report(0.5, 1)
study.enqueue_trial({"rate": 0.02})

summary = {"optuna": optuna.__version__, "studies": {}}
for name in ("everything", "upwards"):
    study = optuna.load_study(storage=storage, study_name=name)
    evaluator = PedAnovaImportanceEvaluator()
    summary["studies"][name] = {
        "best": [study.best_trial.number, study.best_value],
        "importance": evaluator.evaluate(study),
        "normalised": optuna.importance.get_param_importances(study, evaluator=evaluator),
        "global": PedAnovaImportanceEvaluator(evaluate_on_local=False).evaluate(study),
        "region": PedAnovaImportanceEvaluator(target_quantile=0.2, region_quantile=0.6).evaluate(study),
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
    }
print(json.dumps(summary, separators=(",", ":")))
