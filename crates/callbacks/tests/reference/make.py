"""200 random traces through Keras's own EarlyStopping, ReduceLROnPlateau and CSVLogger.

    python make.py > traces.json

Each epoch the model's one weight is set to the epoch's number, so that the weight at the end tells which epoch was restored.
A quarter of the traces lie on a grid of 1/64, so that exact ties and differences of exactly min_delta occur.
The first value is never NaN: there Keras makes NaN the best value, and Taper's specification does not.
Keras compares in float32, Taper in float64: traces on which that made a difference would fail the test, and none does.
Made with Python 3.11.7, keras 3.15.1 on TensorFlow 2.21.0, numpy 2.4.6.
"""
import json
import os
import tempfile

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np

NAMES = ["loss", "accuracy", "val_loss", "val_accuracy"]


def values(rng, name, epochs, kind):
    falling = name.endswith("loss")
    trend = np.exp(-np.arange(epochs) / rng.uniform(2, 12)) * rng.uniform(0.2, 1.5)
    noise = rng.normal(size=epochs) * rng.choice([0.0, 0.01, 0.05, 0.3])
    v = trend + noise if falling else np.clip(1.0 - trend + noise, 0.0, 1.0)
    if kind == "grid":
        return (np.round(v * 64) / 64).tolist()
    if kind == "full":
        return v.tolist()
    return np.round(v, 4).tolist()


def trace(seed):
    rng = np.random.default_rng(seed)
    epochs = int(rng.integers(3, 16))
    kind = ["grid", "rounded", "rounded", "full"][seed % 4]
    logs = {name: values(rng, name, epochs, kind) for name in NAMES}
    if seed % 10 == 9:
        at = int(rng.integers(1, epochs))
        for name in NAMES:
            logs[name][at] = float("nan") if rng.random() < 0.7 else float("inf") * (1 if name.endswith("loss") else -1)
    if seed % 7 == 3:
        for name in NAMES[2:]:
            logs.pop(name)  # a run without validation
    names = list(logs)
    if seed % 8 == 5:
        logs["tiny"] = (rng.random(epochs) * 10.0 ** rng.integers(-9, -3)).tolist()

    def monitor():
        name = str(rng.choice(names))
        mode = "auto" if name.endswith("loss") and rng.random() < 0.5 else ("min" if name.endswith("loss") else "max")
        if rng.random() < 0.1:
            mode = "max" if mode != "max" else "min"
        return name, mode

    name, mode = monitor()
    delta = [0.0, 1 / 64, -1 / 32] if kind == "grid" else [0.0, 1e-4, -1e-2, 0.05]
    early = {
        "monitor": name, "mode": mode, "min_delta": float(rng.choice(delta)), "patience": int(rng.integers(0, 5)),
        "baseline": float(np.round(rng.uniform(0.1, 0.9) * 64) / 64) if rng.random() < 0.35 else None,
        "restore_best_weights": bool(rng.random() < 0.7), "start_from_epoch": int(rng.choice([0, 0, 0, 1, 3])),
    }
    name, mode = monitor()
    lr = float(rng.choice([1e-2, 1e-3]))
    reduce = {
        "monitor": name, "mode": mode, "factor": float(rng.choice([0.1, 0.5, 0.3])), "patience": int(rng.integers(0, 4)),
        "min_delta": float(rng.choice(delta)), "cooldown": int(rng.integers(0, 3)),
        "min_lr": float(rng.choice([0.0, 1e-4, 5e-4])),
    }
    resume_at = int(rng.integers(1, epochs)) if rng.random() < 0.5 else None

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(optimizer=keras.optimizers.SGD(lr), loss="mse")
    log = lambda e: {k: v[e] for k, v in logs.items()}
    # Early stopping and reduction see the same epochs, each on its own, so that every trace tests both to its end.
    cb = keras.callbacks.EarlyStopping(**early)
    cb.set_model(model)
    model.stop_training = False
    cb.on_train_begin()
    waits, stopped = [], None
    for e in range(epochs):
        model.set_weights([np.full((1, 1), e, np.float32)])
        cb.on_epoch_end(e, log(e))
        waits.append(int(cb.wait))
        if model.stop_training:
            stopped = e
            break
    cb.on_train_end()
    final = int(model.get_weights()[0][0, 0])

    cb = keras.callbacks.ReduceLROnPlateau(**reduce)
    cb.set_model(model)
    cb.on_train_begin()
    rates, reduce_waits, cooldowns = [], [], []
    for e in range(epochs):
        cb.on_epoch_end(e, log(e))
        rates.append(float(model.optimizer.learning_rate.numpy()))
        reduce_waits.append(int(cb.wait))
        cooldowns.append(int(cb.cooldown_counter))

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "history.csv")
        for part in ([range(epochs)] if resume_at is None else [range(resume_at), range(resume_at, epochs)]):
            cb = keras.callbacks.CSVLogger(path, append=True)
            cb.set_model(model)
            cb.on_train_begin()
            for e in part:
                cb.on_epoch_end(e, log(e))
            cb.on_train_end()
        csv = open(path, newline="").read()

    text = lambda v: [x if np.isfinite(x) else ("nan" if np.isnan(x) else ("inf" if x > 0 else "-inf")) for x in v]
    return {
        "seed": seed, "epochs": epochs, "logs": {k: text(v) for k, v in logs.items()},
        "early_stopping": {"config": early, "stopped": stopped, "final_weights": final, "wait": waits},
        "reduce": {"config": reduce, "lr": lr, "rates": rates, "wait": reduce_waits, "cooldown": cooldowns},
        "csv": csv, "resume_at": resume_at,
    }


print('{"keras":"%s","traces":[' % keras.__version__)
print(",\n".join(json.dumps(trace(seed), separators=(",", ":")) for seed in range(200)))
print("]}")
