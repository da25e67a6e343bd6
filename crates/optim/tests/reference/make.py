"""Learning rates of PyTorch's and Keras's schedules.

    python make.py > rates.json

Made with Python 3.11.7, torch 2.15.0, keras 3.15.1 on torch. Keras computes in float32.
"""
import json
import os

os.environ["KERAS_BACKEND"] = "torch"
import keras
import torch
from torch.optim import lr_scheduler as ls

BASE = 2e-3


def torch_rates(make, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        try:
            scheduler.step()
        except ValueError:  # OneCycleLR refuses a step beyond its last one
            break
    return rates


def warm(optimizer, steps, start, make):
    return ls.SequentialLR(optimizer, [ls.LinearLR(optimizer, start, 1.0, steps), make(optimizer)], [steps])


def case(source, config, epochs, per_epoch, rates, tolerance):
    return {"source": source, "config": config, "epochs": epochs, "steps_per_epoch": per_epoch, "base": BASE, "rates": [float(r) for r in rates], "tolerance": tolerance}


def t(config, epochs, per_epoch, make):
    return case("torch", config, epochs, per_epoch, torch_rates(make, epochs * per_epoch), 1e-9)


def k(config, epochs, per_epoch, schedule, extra=20):
    return case("keras", config, epochs, per_epoch, [schedule(i) for i in range(epochs * per_epoch + extra)], 2e-6)


D = keras.optimizers.schedules
cases = [
    t({"shape": {"kind": "step", "every": {"epochs": 3}, "factor": 0.1}}, 10, 7, lambda o: ls.StepLR(o, 21, 0.1)),
    t({"shape": {"kind": "step", "every": {"steps": 5}, "factor": 0.7}}, 4, 8, lambda o: ls.StepLR(o, 5, 0.7)),
    t({"shape": {"kind": "cosine"}}, 6, 10, lambda o: ls.CosineAnnealingLR(o, 60)),
    t({"shape": {"kind": "cosine", "end_factor": 0.05}}, 6, 10, lambda o: ls.CosineAnnealingLR(o, 60, 0.05 * BASE)),
    t({"shape": {"kind": "one_cycle"}}, 5, 20, lambda o: ls.OneCycleLR(o, BASE, total_steps=100)),
    t({"shape": {"kind": "one_cycle", "rise": 0.25, "div_factor": 10, "final_div_factor": 100}}, 7, 9,
      lambda o: ls.OneCycleLR(o, BASE, total_steps=63, pct_start=0.25, div_factor=10, final_div_factor=100)),
    t({"shape": {"kind": "polynomial"}}, 5, 12, lambda o: ls.PolynomialLR(o, 60)),
    t({"shape": {"kind": "polynomial", "power": 2.0}}, 5, 12, lambda o: ls.PolynomialLR(o, 60, 2.0)),
    t({"shape": {"kind": "cosine"}, "warmup": {"over": {"epochs": 1}, "start_factor": 0.1}}, 6, 10,
      lambda o: warm(o, 10, 0.1, lambda o: ls.CosineAnnealingLR(o, 50))),
    t({"shape": {"kind": "step", "every": {"steps": 8}, "factor": 0.5}, "warmup": {"over": {"fraction": 0.2}, "start_factor": 0.25}}, 5, 10,
      lambda o: warm(o, 10, 0.25, lambda o: ls.StepLR(o, 8, 0.5))),
    t({"shape": {"kind": "polynomial", "power": 0.5}, "warmup": {"over": {"steps": 3}, "start_factor": 0.5}}, 5, 10,
      lambda o: warm(o, 3, 0.5, lambda o: ls.PolynomialLR(o, 47, 0.5))),
    t({"shape": {"kind": "constant"}, "warmup": {"over": {"steps": 20}, "start_factor": 0.01}}, 5, 10,
      lambda o: ls.LinearLR(o, 0.01, 1.0, 20)),
    k({"shape": {"kind": "cosine", "end_factor": 0.1}}, 5, 12, D.CosineDecay(BASE, 60, alpha=0.1)),
    k({"shape": {"kind": "cosine", "end_factor": 0.02}, "warmup": {"over": {"epochs": 1}}}, 5, 12,
      D.CosineDecay(0.0, 48, alpha=0.02, warmup_target=BASE, warmup_steps=12)),
    k({"shape": {"kind": "polynomial", "power": 1.5, "end_factor": 0.05}}, 5, 12, D.PolynomialDecay(BASE, 60, 0.05 * BASE, 1.5)),
]
print('{"torch":"%s","keras":"%s","cases":[' % (torch.__version__, keras.__version__))
print(",\n".join(json.dumps(c, separators=(",", ":")) for c in cases))
print("]}")
