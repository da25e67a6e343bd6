"""Reference values of `crates/grad/tests/reference.rs` and `crates/candle/tests/head.rs`: five steps of Adam on the tutorial's head without dropout, in f64.

Written out with torch's autograd, since neither torch nor Keras has this mixture: Keras's BatchNorm (biased variance in the
moving average, momentum 0.99, epsilon 1e-3) and Keras's Adam (epsilon 1e-7 outside the bias correction;
keras/src/optimizers/adam.py). Run: python head.py > head.json   (torch 2; the versions are in the file)
"""
import json, math, sys
import torch

torch.set_default_dtype(torch.float64)
W, H, K, N = 6, 5, 3, 8


def fill(n, phase):
    return torch.tensor([math.sin(0.7 * i + phase) * 0.5 for i in range(n)]).float().double()


p = {
    "bn1.weight": 1 + fill(W, 1), "bn1.bias": fill(W, 2),
    "fc1.weight": fill(H * W, 3).reshape(H, W), "fc1.bias": fill(H, 4),
    "bn2.weight": 1 + fill(H, 5), "bn2.bias": fill(H, 6),
    "fc2.weight": fill(K * H, 7).reshape(K, H), "fc2.bias": fill(K, 8),
}
p = {k: v.clone().requires_grad_() for k, v in p.items()}
run = {"bn1.m": torch.zeros(W), "bn1.v": torch.ones(W), "bn2.m": torch.zeros(H), "bn2.v": torch.ones(H)}
x, y = fill(N * W, 9).reshape(N, W), torch.tensor([i % K for i in range(N)])


def norm(x, name, train):
    if train:
        m, v = x.mean(0), x.var(0, unbiased=False)
        run[name + ".m"] = 0.99 * run[name + ".m"] + 0.01 * m.detach()
        run[name + ".v"] = 0.99 * run[name + ".v"] + 0.01 * v.detach()
    else:
        m, v = run[name + ".m"], run[name + ".v"]
    return (x - m) / torch.sqrt(v + 1e-3) * p[name + ".weight"] + p[name + ".bias"]


def forward(train):
    h = torch.relu(norm(x, "bn1", train) @ p["fc1.weight"].T + p["fc1.bias"])
    return norm(h, "bn2", train) @ p["fc2.weight"].T + p["fc2.bias"]


lr, b1, b2, eps = 0.01, 0.9, 0.999, 1e-7
m = {k: torch.zeros_like(v) for k, v in p.items()}
s = {k: torch.zeros_like(v) for k, v in p.items()}
losses = []
for t in range(1, 6):
    loss = torch.nn.functional.cross_entropy(forward(True), y)
    losses.append(loss.item())
    grads = torch.autograd.grad(loss, list(p.values()))
    with torch.no_grad():
        alpha = lr * math.sqrt(1 - b2**t) / (1 - b1**t)
        for (k, v), g in zip(p.items(), grads):
            m[k] += (g - m[k]) * (1 - b1)
            s[k] += (g * g - s[k]) * (1 - b2)
            v -= alpha * m[k] / (s[k].sqrt() + eps)
out = {"versions": {"torch": torch.__version__, "python": sys.version.split()[0]}, "losses": losses,
       "logits": forward(False).detach().flatten().tolist(),
       "fc1.weight": p["fc1.weight"].detach().flatten().tolist(),
       "bn2.running_var": run["bn2.v"].tolist()}
json.dump(out, sys.stdout, indent=1)
