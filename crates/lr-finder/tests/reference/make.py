"""Suggestions of fastai, Lightning's smoothing and beringresearch's derivative on recorded curves.

    pip download --no-deps fastai==2.8.12 lightning==2.6.6 && unzip both
    python make.py FOLDER-WITH-THE-UNPACKED-WHEELS > curves.json

The functions `valley`, `slide`, `minimum`, `steep` are taken out of fastai's own `fastai/callback/schedule.py`, and the class `_LRCallback` out
of Lightning's own `lightning/pytorch/tuner/lr_finder.py`, and run as they are, in float64. beringresearch's `lrfinder.py` is on no registry;
its two functions are said again here in numpy.
Made with Python 3.11.7, torch 2.15.0, numpy 2.4.6, scikit-learn 1.9.1.
"""
import ast
import json
import sys
from types import SimpleNamespace

import numpy as np
import torch
from sklearn.datasets import load_digits


def take(path, names, scope):
    tree = ast.parse(open(path).read())
    body = [n for n in tree.body if getattr(n, "name", None) in names]
    assert len(body) == len(names), path
    exec(compile(ast.Module(body=body, type_ignores=[]), path, "exec"), scope)
    return scope


folder = sys.argv[1]
F = take(f"{folder}/fastai/callback/schedule.py", ["valley", "slide", "minimum", "steep"], {"np": np, "to_np": lambda t: t.numpy()})
L = take(f"{folder}/lightning/pytorch/tuner/lr_finder.py", ["_LRCallback"], {
    "Callback": object, "override": lambda f: f, "Optional": __import__("typing").Optional, "Any": object, "STEP_OUTPUT": object, "torch": torch,
    "tqdm": None, "log": None, "pl": None,
})


def lightning(losses):
    """The smoothed losses, and the step at which the search stops. `global_step` counts from 0, as the formula in the source means it."""
    callback = L["_LRCallback"](len(losses), 4.0)
    stopped = None
    for t, loss in enumerate(losses):
        trainer = SimpleNamespace(fit_loop=SimpleNamespace(batch_idx=t), accumulate_grad_batches=1, global_step=t, should_stop=False,
                                  strategy=SimpleNamespace(broadcast=lambda x: x))
        callback.on_train_batch_end(trainer, None, torch.tensor(loss, dtype=torch.float64), None, t)
        if trainer.should_stop and stopped is None:
            stopped = t
    return callback.losses, stopped


def bering(rates, losses, n):
    """`get_derivatives(sma)` and `get_best_lr(sma)` with n_skip_beginning = 10, n_skip_end = 5; and whether the loss falls there at all."""
    losses = np.array(losses)
    change = np.concatenate([np.zeros(n), (losses[n:] - losses[:-n]) / n])[10:-5]
    best = int(np.argmin(change))
    return rates[10:-5][best], bool(change[best] < 0)


def mlp(seed, steps, start, end, optimizer, batch, width):
    """A small network on scikit-learn's digits: a range test as anyone would do it."""
    torch.manual_seed(seed)
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 16.0, dtype=torch.float32), torch.tensor(y)
    net = torch.nn.Sequential(torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, 10))
    opt = optimizer(net.parameters(), lr=start)
    losses = []
    for t in range(steps):
        opt.param_groups[0]["lr"] = start * (end / start) ** (t / (steps - 1))
        pick = torch.randint(len(x), (batch,))
        loss = torch.nn.functional.cross_entropy(net(x[pick]), y[pick])
        losses.append(round(loss.item(), 5))
        opt.zero_grad()
        loss.backward()
        opt.step()
    return losses


def shape(seed, steps, noise, valley, rise):
    """Flat, then down, then up, with noise."""
    rng = np.random.default_rng(seed)
    u = np.linspace(0, 1, steps)
    v = 1.1 - 0.8 / (1 + np.exp(-(u - valley) * 20)) + 3 * np.maximum(0, u - rise) ** 2 / max(1e-9, (1 - rise) ** 2)
    return np.round(v + rng.normal(size=steps) * noise, 5).tolist()


adam, sgd = torch.optim.Adam, torch.optim.SGD
RUNS = [
    ("digits, Adam, 100 steps", 1e-6, 1.0, mlp(0, 100, 1e-6, 1.0, adam, 64, 32)),
    ("digits, Adam, 400 steps", 1e-6, 1.0, mlp(1, 400, 1e-6, 1.0, adam, 64, 32)),
    ("digits, SGD, 200 steps", 1e-4, 10.0, mlp(2, 200, 1e-4, 10.0, sgd, 32, 64)),
    ("digits, SGD, small batch", 1e-3, 3.0, mlp(3, 150, 1e-3, 3.0, sgd, 4, 64)),
    ("digits, Adam, 60 steps", 1e-5, 0.1, mlp(4, 60, 1e-5, 0.1, adam, 128, 128)),
    ("digits, Adam, low rates", 1e-7, 1e-3, mlp(5, 250, 1e-7, 1e-3, adam, 64, 16)),
    ("smooth", 1e-6, 1.0, shape(6, 120, 0.0, 0.5, 0.85)),
    ("noisy", 1e-6, 1.0, shape(7, 300, 0.15, 0.6, 0.9)),
    ("early valley", 1e-8, 10.0, shape(8, 90, 0.02, 0.3, 0.6)),
    ("late valley", 1e-5, 1.0, shape(9, 200, 0.05, 0.8, 1.0)),
    ("diverging", 1e-5, 10.0, [round(v + 900 * max(0.0, t / 160 - 0.6) ** 2, 5) for t, v in enumerate(shape(10, 160, 0.02, 0.4, 1.0))]),
]

curves = []
for name, start, end, losses in RUNS:
    steps = len(losses)
    rates = [start * (end / start) ** (t / (steps - 1)) for t in range(steps)]
    smoothed, stopped = lightning(losses)
    sets = {}
    for what, values in [("raw", losses), ("smoothed", smoothed)]:
        # fastai's lr_find looks at [num_it // 10 : -5].
        lr, ls = (torch.tensor(v[steps // 10:-5], dtype=torch.float64) for v in (rates, values))
        suggestions = {f: F[f](lr, ls, steps)[0] for f in ("valley", "slide", "minimum", "steep")}
        for n in (10, 20):
            # With n < 10 the original leaves points out that Taper's formula looks at.
            rate, falls = bering(rates, values, n)
            suggestions[f"sma{n}"] = rate if falls else None
        sets[what] = suggestions
    curves.append({"name": name, "start": start, "end": end, "losses": losses, "smoothed": smoothed, "stopped": stopped, "suggestions": sets})
print("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in curves) + "\n]")
