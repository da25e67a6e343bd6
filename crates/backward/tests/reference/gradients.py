"""Gradients of torch in float64 for tests/torch.rs.

Run in an environment with torch: python gradients.py > gradients.json

Inputs are not stored: both sides compute sin(0.7 i + phase). Maps are NHWC in the file, filters as
torch has them. Long results are stored as every `step`-th value.
"""

import json
import math

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def fill(*shape, phase):
    n = math.prod(shape)
    return torch.sin(0.7 * torch.arange(n) + phase).reshape(shape)


def nhwc(*shape, phase):
    """A map given as NHWC, as a leaf; torch sees it as NCHW."""
    return fill(*shape, phase=phase).requires_grad_()


def nchw(x):
    return x.permute(0, 3, 1, 2)


def back(x):
    return x.permute(0, 2, 3, 1)


def stored(x, limit=400):
    values = x.detach().flatten()
    step = max(1, -(-values.numel() // limit))
    if step > 1 and step % 2 == 0:
        step += 1
    return {"step": step, "values": [float(f"{v:.9g}") for v in values[::step].tolist()]}


def conv(
    n, size, cin, cout, kernel, stride=(1, 1), dilation=(1, 1), padding=(0, 0, 0, 0), groups=1
):
    """padding: top, bottom, left, right."""
    x = nhwc(n, *size, cin, phase=0.1)
    w = fill(cout, cin // groups, *kernel, phase=0.2).requires_grad_()
    b = fill(cout, phase=0.3).requires_grad_()
    top, bottom, left, right = padding
    y = F.conv2d(F.pad(nchw(x), (left, right, top, bottom)), w, b, stride, 0, dilation, groups)
    y = back(y)
    y.backward(fill(*y.shape, phase=0.4))
    return {
        "n": n, "size": size, "in": cin, "out": cout, "kernel": kernel, "stride": stride,
        "dilation": dilation, "padding": padding, "groups": groups,
        "data": stored(x.grad), "weights": stored(w.grad), "bias": stored(b.grad),
    }


convolutions = [
    conv(2, (4, 5), 5, 7, (1, 1)),
    conv(2, (6, 5), 4, 6, (3, 3), padding=(1, 1, 1, 1)),
    conv(2, (7, 6), 4, 3, (3, 3), (2, 2), padding=(0, 1, 0, 1)),
    conv(1, (9, 8), 4, 6, (3, 2), (1, 2), (2, 1), (2, 1, 0, 1), 2),
    conv(2, (9, 7), 3, 5, (5, 3), (3, 2), (1, 2), (3, 0, 2, 2)),
    conv(2, (8, 8), 6, 6, (3, 3), padding=(1, 1, 1, 1), groups=6),
    conv(1, (11, 9), 6, 6, (5, 5), (2, 2), padding=(1, 2, 2, 1), groups=6),
    conv(2, (8, 7), 32, 40, (3, 3), padding=(1, 1, 1, 1)),
    conv(2, (6, 6), 8, 16, (1, 1), (2, 2)),
    conv(1, (12, 12), 3, 4, (7, 7), (2, 2), padding=(3, 3, 3, 3)),
    conv(5, (1, 1), 10, 4, (1, 1)),
    conv(3, (3, 3), 5, 8, (3, 3)),
]


def pool(kind, size, kernel, stride, padding, ties):
    x = nhwc(2, *size, 5, phase=0.5)
    seen = x.clamp(min=0.3) if ties else x * 1
    seen.retain_grad()
    if kind == "max":
        y = F.max_pool2d(nchw(seen), kernel, stride, padding)
    else:
        y = F.avg_pool2d(nchw(seen), kernel, stride, padding, count_include_pad=kind == "average")
    y = back(y)
    y.backward(fill(*y.shape, phase=0.6))
    return {
        "kind": kind, "size": size, "kernel": kernel, "stride": stride, "padding": padding,
        "ties": ties, "data": stored(seen.grad),
    }


pools = [
    pool("max", (7, 6), 3, 2, 1, False),
    pool("max", (7, 6), 3, 2, 1, True),
    pool("max", (8, 8), 2, 2, 0, True),
    pool("average", (7, 6), 3, 2, 1, False),
    pool("average_inside", (7, 6), 3, 2, 1, False),
]


def batch_norm(training, residual):
    rows, channels = 6 * 5 * 2, 5
    x = (3.0 * fill(rows, channels, phase=0.7) + 2.0).requires_grad_()
    scale = (fill(channels, phase=0.8) + 1.5).requires_grad_()
    bias = fill(channels, phase=0.9).requires_grad_()
    mean, variance = fill(channels, phase=1.0), fill(channels, phase=1.1).abs() + 0.5
    running = [mean.clone(), variance.clone()]
    y = F.batch_norm(x, *running, scale, bias, training, 0.1, 1e-3)
    r = fill(rows, channels, phase=1.2).requires_grad_()
    y = F.relu(y + r) if residual else F.relu6(3.0 * y) if training else y * 1
    # The factor before ReLU6 belongs to scale and bias.
    y.backward(fill(rows, channels, phase=1.3))
    factor = 3.0 if training and not residual else 1.0
    result = {
        "training": training, "residual": residual, "factor": factor, "out": stored(y),
        "data": stored(x.grad), "scale": stored(scale.grad / factor),
        "bias": stored(bias.grad / factor), "running_mean": stored(running[0]),
        "running_variance": stored(running[1]),
    }
    if residual:
        result["added"] = stored(r.grad)
    return result


batch_norms = [batch_norm(t, r) for t in (True, False) for r in (True, False)]


def folded(with_bias):
    cin, cout = 3, 4
    x = nhwc(2, 5, 4, cin, phase=0.1)
    w = fill(cout, cin, 3, 3, phase=0.2).requires_grad_()
    b = fill(cout, phase=0.3).requires_grad_()
    scale = (fill(cout, phase=0.8) + 1.5).requires_grad_()
    bias = fill(cout, phase=0.9).requires_grad_()
    mean, variance = fill(cout, phase=1.0), fill(cout, phase=1.1).abs() + 0.5
    y = F.conv2d(nchw(x), w, b if with_bias else None, padding=1)
    y = back(F.batch_norm(y, mean, variance, scale, bias, False, 0.1, 1e-3))
    y.backward(fill(*y.shape, phase=0.4))
    return {
        "with_bias": with_bias, "out": stored(y), "weights": stored(w.grad),
        "conv_bias": stored(b.grad) if with_bias else None,
        "scale": stored(scale.grad), "bias": stored(bias.grad),
    }


def layer_norm(rows, channels):
    x = (2.0 * fill(rows, channels, phase=0.1) + 1.0).requires_grad_()
    scale = (fill(channels, phase=0.8) + 1.5).requires_grad_()
    bias = fill(channels, phase=0.9).requires_grad_()
    y = F.layer_norm(x, (channels,), scale, bias, 1e-6)
    y.backward(fill(rows, channels, phase=0.4))
    return {
        "rows": rows, "channels": channels, "data": stored(x.grad), "scale": stored(scale.grad),
        "bias": stored(bias.grad),
    }


def activation(f):
    # Includes 0 and 6 themselves.
    x = (torch.arange(-40, 41) / 4.0).requires_grad_()
    y = f(x)
    y.backward(fill(81, phase=0.4))
    return {"out": stored(y), "data": stored(x.grad)}


def attention(n, tokens, width, heads, queries):
    x = (2.0 * fill(n, tokens, 3 * width, phase=0.1)).requires_grad_()
    q, k, v = (
        part.reshape(n, tokens, heads, width // heads).transpose(1, 2)
        for part in x.chunk(3, dim=2)
    )
    y = F.scaled_dot_product_attention(q[:, :, :queries], k, v)
    y = y.transpose(1, 2).reshape(n, queries, width)
    y.backward(fill(n, queries, width, phase=0.4))
    return {
        "n": n, "tokens": tokens, "width": width, "heads": heads, "queries": queries,
        "data": stored(x.grad, 1200),
    }


def tokens():
    n, patches, width = 2, 6, 5
    x = fill(n, patches, width, phase=0.1).requires_grad_()
    cls = fill(1, 1, width, phase=0.2).requires_grad_()
    positions = fill(1, 1 + patches, width, phase=0.3).requires_grad_()
    y = torch.cat([cls.expand(n, -1, -1), x], 1) + positions
    scale = (fill(width, phase=0.8) + 1.5).requires_grad_()
    y.retain_grad()
    z = y * scale
    z.backward(fill(*z.shape, phase=0.4))
    return {
        "data": stored(x.grad), "class": stored(cls.grad), "positions": stored(positions.grad),
        "tokens": stored(y.grad), "scale": stored(scale.grad),
    }


def ends():
    x = nhwc(2, 3, 4, 5, phase=0.1)
    nchw(F.relu(x)).mean((2, 3)).backward(fill(2, 5, phase=0.4))
    t = fill(2, 4, 5, phase=0.1).requires_grad_()
    t[:, 0].backward(fill(2, 5, phase=0.4))
    return {"pool": stored(x.grad), "class": stored(t.grad)}


print(
    json.dumps(
        {
            "torch": torch.__version__,
            "convolutions": convolutions,
            "pools": pools,
            "batch_norms": batch_norms,
            "folded": [folded(True), folded(False)],
            "layer_norms": [layer_norm(7, 5), layer_norm(3, 40)],
            "relu": activation(F.relu),
            "relu6": activation(F.relu6),
            "gelu": activation(F.gelu),
            "quick_gelu": activation(lambda x: x * torch.sigmoid(1.702 * x)),
            "gelu_tanh": activation(lambda x: F.gelu(x, approximate="tanh")),
            "attention": [
                attention(2, 5, 8, 2, 5),
                attention(1, 17, 24, 2, 17),
                attention(2, 7, 12, 3, 1),
            ],
            "tokens": tokens(),
            "ends": ends(),
        }
    )
)
