"""What others make of small data sets within a time: fastai's fine_tune, and LP-FT with PyTorch and timm.

    python within_time.py fastai|lp-ft DATA WEIGHTS SECONDS SEED

DATA: a folder with train/CLASS and test/CLASS. WEIGHTS: safetensors of timm's tf_efficientnet_lite0. fastai takes as many
epochs as fit into the time, by a measured one, and one at least; LP-FT takes steps until the time is over, a part of an
epoch if need be, with the cosine of the time that has passed. 15 % of train are for validation; test is only measured at
the end, outside of the time.
Needs fastai, scikit-learn, timm, torch and safetensors from PyPI. Prints one line of JSON. Transparent pictures are put on white first, as Taper does.
"""

import json
import math
import pathlib
import random
import sys
import time

import timm
import torch
from PIL import Image

ARCH = "tf_efficientnet_lite0"


def pictures(folder):
    classes = sorted(p.name for p in (folder / "train").iterdir() if p.is_dir())
    listed = {
        part: [(p, c) for c in classes for p in sorted((folder / part / c).rglob("*")) if p.is_file()]
        for part in ("train", "test")
    }
    return classes, listed


def opened(path):
    image = Image.open(path)
    if image.mode in ("P", "LA", "PA", "RGBA"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image)
        image = white
    return image.convert("RGB")


def split(train, seed):
    """15 % of each class."""
    rng = random.Random(seed)
    fit, val = [], []
    for name in sorted({c for _, c in train}):
        own = [p for p in train if p[1] == name]
        rng.shuffle(own)
        n = max(1, round(0.15 * len(own)))
        val += own[:n]
        fit += own[n:]
    return fit, val


def with_fastai(folder, weights, seconds, seed):
    from fastai.vision.all import (
        ColReader, DataBlock, CategoryBlock, ColSplitter, ImageBlock, PILImage, Resize, accuracy, aug_transforms,
        set_seed, vision_learner, Transform,
    )
    import pandas

    begun = time.time()
    set_seed(seed, reproducible=True)
    classes, listed = pictures(folder)
    fit, val = split(listed["train"], seed)
    table = pandas.DataFrame(
        [(str(p), c, False) for p, c in fit] + [(str(p), c, True) for p, c in val], columns=["path", "label", "is_valid"]
    )

    def picture(row):
        return PILImage.create(__import__("numpy").array(opened(row["path"])))

    block = DataBlock(
        blocks=(ImageBlock(), CategoryBlock(vocab=classes)),
        get_x=picture,
        get_y=ColReader("label"),
        splitter=ColSplitter(),
        item_tfms=Resize(256),
        batch_tfms=aug_transforms(size=224, min_scale=0.75),
    )
    loaders = block.dataloaders(table, bs=min(32, len(fit)), num_workers=0)
    overlay = {"file": weights}
    make = lambda: vision_learner(loaders, ARCH, metrics=accuracy, pretrained_cfg_overlay=overlay)
    learner = make()
    start = time.time()
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(1)
    each = (time.time() - start) / 2 * 1.15
    left = seconds - (time.time() - begun) - 5
    epochs = max(1, min(40, int(left / each) - 1))
    set_seed(seed, reproducible=True)
    learner = make()
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs)
    took = time.time() - begun
    test = pandas.DataFrame([(str(p), c) for p, c in listed["test"]], columns=["path", "label"])
    with learner.no_bar(), learner.no_logging():
        predictions, targets = learner.get_preds(dl=learner.dls.test_dl(test, with_labels=True))
    right = (predictions.argmax(1) == targets).float().mean().item()
    return right, epochs, took


def with_lp_ft(folder, weights, seconds, seed):
    from sklearn.linear_model import LogisticRegressionCV
    import numpy

    begun = time.time()
    torch.manual_seed(seed)
    random.seed(seed)
    numpy.random.seed(seed)
    classes, listed = pictures(folder)
    fit, val = split(listed["train"], seed)
    model = timm.create_model(
        ARCH, pretrained=True, num_classes=len(classes), pretrained_cfg_overlay={"file": weights}
    )
    config = timm.data.resolve_model_data_config(model)
    plain = timm.data.create_transform(**config)
    varied = timm.data.create_transform(**config, is_training=True, scale=(0.35, 1.0), color_jitter=0.3)
    labels = {c: i for i, c in enumerate(classes)}

    @torch.inference_mode()
    def outputs(items, head=True):
        model.eval()
        parts = []
        for at in range(0, len(items), 32):
            batch = torch.stack([plain(opened(p)) for p, _ in items[at : at + 32]])
            parts.append(model(batch) if head else model.forward_head(model.forward_features(batch), pre_logits=True))
        return torch.cat(parts)

    target = lambda items: torch.tensor([labels[c] for _, c in items])
    x = outputs(fit, head=False).numpy()
    folds = min(5, min(sum(c == name for _, c in fit) for name in classes))
    probe = LogisticRegressionCV(Cs=10, cv=folds, max_iter=300).fit(x, target(fit).numpy())
    with torch.no_grad():
        model.classifier.weight.copy_(torch.tensor(probe.coef_, dtype=torch.float32))
        model.classifier.bias.copy_(torch.tensor(probe.intercept_, dtype=torch.float32))
    state = lambda: {k: v.clone() for k, v in model.state_dict().items()}
    start = time.time()
    validate = lambda: (outputs(val).argmax(1) == target(val)).float().mean().item()
    best = (validate(), state())
    checking = time.time() - start
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.01)
    start, end = time.time(), begun + seconds - 1.1 * checking
    steps, each, order = 0, 0.0, []
    while (now := time.time()) + each < end:
        if not order:
            order = random.sample(fit, len(fit))
        items, order = order[:32], order[32:]
        for group in optimizer.param_groups:
            group["lr"] = 1.5e-4 * (1 + math.cos(math.pi * (now - start) / (end - start)))
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        loss = torch.nn.functional.cross_entropy(model(torch.stack([varied(opened(p)) for p, _ in items])), target(items))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        steps += 1
        each = time.time() - now
        if not order and time.time() + checking < end:
            score = validate()
            best = (score, state()) if score >= best[0] else best
    score = validate()
    best = (score, state()) if score >= best[0] else best
    epochs = round(steps * 32 / len(fit), 2)
    model.load_state_dict(best[1])
    took = time.time() - begun
    right = (outputs(listed["test"]).argmax(1) == target(listed["test"])).float().mean().item()
    return right, epochs, took


def main():
    kind, folder, weights, seconds, seed = sys.argv[1:]
    torch.set_num_threads(2)
    run = {"fastai": with_fastai, "lp-ft": with_lp_ft}[kind]
    right, epochs, took = run(pathlib.Path(folder), weights, float(seconds), int(seed))
    print(json.dumps({"peer": kind, "data": folder, "seed": int(seed), "accuracy": right, "epochs": epochs, "seconds": took}))


main()
