"""Reference values for tests/reference.rs: losses and optimizers of torch and Keras on small numbers.

Run in an environment with torch and keras: python losses_and_optimizers.py > losses_and_optimizers.json
"""

import json
import math
import os

os.environ["KERAS_BACKEND"] = "torch"
import keras
import torch


def fill(n, phase, scale=1.0):
    return [math.sin(0.7 * i + phase) * scale for i in range(n)]


ROWS, CLASSES = 5, 4
logits = torch.tensor(fill(ROWS * CLASSES, 0.3, 3.0), dtype=torch.float64).reshape(ROWS, CLASSES)
labels = torch.tensor([0, 3, 1, 1, 2])
weights = torch.tensor([1.0, 0.5, 2.0, 0.25], dtype=torch.float64)
soft = torch.softmax(torch.tensor(fill(ROWS * CLASSES, 1.1), dtype=torch.float64).reshape(ROWS, CLASSES), 1)


def case(compute):
    z = logits.clone().requires_grad_()
    value = compute(z)
    value.backward()
    return {"loss": value.item(), "gradient": z.grad.flatten().tolist()}


ce = torch.nn.functional.cross_entropy


def focal(z, target, gamma, smoothing=0.0):
    loss = keras.losses.CategoricalFocalCrossentropy(
        alpha=1.0, gamma=gamma, from_logits=True, label_smoothing=smoothing, dtype="float64"
    )
    return loss(target, z)


one_hot = torch.nn.functional.one_hot(labels, CLASSES).double()
losses = {
    "plain": case(lambda z: ce(z, labels)),
    "smoothing": case(lambda z: ce(z, labels, label_smoothing=0.1)),
    "weights": case(lambda z: ce(z, labels, weight=weights)),
    "weights_smoothing": case(lambda z: ce(z, labels, weight=weights, label_smoothing=0.2)),
    "soft": case(lambda z: ce(z, soft)),
    "soft_weights_smoothing": case(lambda z: ce(z, soft, weight=weights, label_smoothing=0.1)),
    "focal": case(lambda z: focal(z, one_hot, 2.0)),
    "focal_fraction": case(lambda z: focal(z, one_hot, 0.5, 0.1)),
}

# Optimizers: a weight and a bias follow given gradients for six steps, with the rate halved in the middle.
STEPS = 6
start = {"weight": fill(6, 0.5), "bias": fill(3, 0.9)}
gradients = [{"weight": fill(6, 2.0 + t), "bias": fill(3, 3.0 + t, 0.1)} for t in range(STEPS)]
rates = [0.1] * 3 + [0.05] * 3


def torch_optimizer(make):
    p = {n: torch.tensor(v, dtype=torch.float64, requires_grad=True) for n, v in start.items()}
    optimizer = make(p)
    for t in range(STEPS):
        for name, tensor in p.items():
            tensor.grad = torch.tensor(gradients[t][name], dtype=torch.float64)
        for group in optimizer.param_groups:
            group["lr"] = rates[t] * group.get("factor", 1.0)
        optimizer.step()
    return {n: t.detach().tolist() for n, t in p.items()}


def decays(p, **more):
    return [{"params": [p["weight"]], **more}, {"params": [p["bias"]], "weight_decay": 0.0}]


def keras_adam():
    p = {n: keras.Variable(v, dtype="float64") for n, v in start.items()}
    optimizer = keras.optimizers.Adam(0.1, epsilon=1e-7)
    optimizer.build(list(p.values()))
    for t in range(STEPS):
        optimizer.learning_rate = rates[t]
        g = [torch.tensor(gradients[t][n], dtype=torch.float64) for n in p]
        optimizer.apply_gradients(zip(g, p.values()))
    return {n: v.numpy().tolist() for n, v in p.items()}


o = torch.optim
optimizers = {
    "adam_keras": keras_adam(),
    "adam_torch": torch_optimizer(lambda p: o.Adam(p.values(), eps=1e-3)),
    "adamw": torch_optimizer(lambda p: o.AdamW(decays(p, weight_decay=0.1), eps=1e-8)),
    "sgd": torch_optimizer(lambda p: o.SGD(p.values(), lr=0.1)),
    "sgd_momentum": torch_optimizer(lambda p: o.SGD(decays(p, weight_decay=0.05), lr=0.1, momentum=0.9)),
    "sgd_nesterov": torch_optimizer(lambda p: o.SGD(p.values(), lr=0.1, momentum=0.8, nesterov=True)),
    "groups": torch_optimizer(
        lambda p: o.SGD(
            [{"params": [p["weight"]], "factor": 0.1}, {"params": [p["bias"]], "weight_decay": 0.2}],
            lr=0.1,
            momentum=0.9,
        )
    ),
}
norm = torch.nn.utils.get_total_norm([torch.tensor(g) for g in gradients[0].values()]).item()
versions = {"torch": torch.__version__.split("+")[0], "keras": keras.__version__}
print(json.dumps({"versions": versions, "losses": losses, "optimizers": optimizers, "norm": norm}))
