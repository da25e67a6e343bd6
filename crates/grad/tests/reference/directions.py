"""Reference values of the heads on directions for `crates/grad/tests/reference.rs` and `crates/candle/tests/head.rs`: logits, loss
and gradients of `cosine` and of `logistic` with a layer below, in f64 with torch's autograd.

Run: python directions.py > directions.json   (torch 2; the versions are in the file)
"""
import json, math, sys
import torch
from torch.nn.functional import cross_entropy, normalize

torch.set_default_dtype(torch.float64)
W, H, K, N = 6, 5, 3, 8


def fill(n, phase):
    return torch.tensor([math.sin(0.7 * i + phase) * 0.5 for i in range(n)]).float().double()


x, y = fill(N * W, 9).reshape(N, W), torch.tensor([i % K for i in range(N)])
below = {"fc1.weight": fill(H * W, 3).reshape(H, W), "fc1.bias": fill(H, 4)}
heads = {
    "cosine": {"cosine.weight": fill(K * H, 7).reshape(K, H), "cosine.gamma": 1 + fill(1, 8)},
    "logistic": {"fc.weight": fill(K * H, 7).reshape(K, H), "fc.bias": fill(K, 8)},
}
out = {"versions": {"torch": torch.__version__, "python": sys.version.split()[0]}}
for name, own in heads.items():
    p = {k: v.clone().requires_grad_() for k, v in {**below, **own}.items()}
    h = x @ p["fc1.weight"].T + p["fc1.bias"]
    if name == "cosine":
        logits = 20 * p["cosine.gamma"] * normalize(h) @ normalize(p["cosine.weight"]).T
    else:
        logits = 20 * normalize(h) @ p["fc.weight"].T + p["fc.bias"]
    loss = cross_entropy(logits, y)
    gradients = torch.autograd.grad(loss, list(p.values()))
    out[name] = {"loss": loss.item(), "logits": logits.detach().flatten().tolist(),
                 **{k: g.flatten().tolist() for k, g in zip(p, gradients)}}
json.dump(out, sys.stdout, indent=1)
