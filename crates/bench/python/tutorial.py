"""The peers of `cargo xtask bench tutorial`.

    python tutorial.py keras FOLDER     minutes that the tutorial takes in Keras: two epochs are timed, the rest is counted.
                                        KERAS_STEPS=N times two epochs of N steps instead, and counts the other steps too
    python tutorial.py timm FOLDER      accuracies of five seeds: timm's EfficientNet-Lite0 in PyTorch, frozen
"""

import copy
import json
import os
import pathlib
import sys
import time

# Train 6 epochs, look for a rate over 10 (no validation), train up to 20; the tutorial's own run stopped after epoch 16.
TRAINING_EPOCHS, VALIDATIONS = 6 + 10 + 16, 6 + 16


def keras_minutes(folder):
    import keras
    import tensorflow as tf

    size = (256, 256)
    read = lambda split, shuffle: (
        keras.utils.image_dataset_from_directory(
            os.path.join(folder, split), label_mode="categorical", image_size=size, batch_size=64, shuffle=shuffle
        )
        .cache()
        .prefetch(tf.data.AUTOTUNE)
    )
    train, test = read("train", True), read("test", False)
    # Decoding is not what is compared: both are in memory before the clock starts.
    for _ in train:
        pass
    for _ in test:
        pass
    body = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(*size, 3))
    body.trainable = False
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((*size, 3)),
            layers.Rescaling(1 / 255),
            body,
            layers.GlobalAveragePooling2D(),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(512, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-3), "categorical_crossentropy", metrics=["accuracy"])
    model.train_on_batch(*next(iter(train)))  # builds the graph
    steps = len(train)
    timed = min(int(os.environ.get("KERAS_STEPS", steps)), steps)
    start = time.perf_counter()
    model.fit(train.take(timed), epochs=2, verbose=0)
    epoch = (time.perf_counter() - start) / 2 * steps / timed
    model.test_on_batch(*next(iter(test)))
    start = time.perf_counter()
    model.evaluate(test, verbose=0)
    validation = time.perf_counter() - start
    minutes = (TRAINING_EPOCHS * epoch + VALIDATIONS * validation) / 60
    version = f"keras {keras.__version__}, tensorflow {tf.__version__}"
    return {"version": version, "minutes": minutes, "epoch_seconds": epoch, "validation_seconds": validation}


def timm_accuracies(folder):
    import safetensors.torch
    import timm
    import torch
    from torchvision import datasets

    weights = pathlib.Path(folder).parents[1] / "weights" / "timm" / "tf_efficientnet_lite0.in1k"
    body = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    [file] = sorted(weights.glob("*.safetensors"))
    state = safetensors.torch.load_file(file)
    body.load_state_dict({k: v.float() for k, v in state.items() if not k.startswith("classifier")}, strict=True)
    body.eval()
    # The network's own preprocessing: the central 224 of 256, bicubic.
    prepare = timm.data.create_transform(**timm.data.resolve_data_config({}, model=body))

    def table(split):
        pictures = datasets.ImageFolder(os.path.join(folder, split), prepare)
        loader = torch.utils.data.DataLoader(pictures, 32, num_workers=2)
        with torch.inference_mode():
            rows = [(body(x), y) for x, y in loader]
        return torch.cat([x for x, _ in rows]).clone(), torch.cat([y for _, y in rows])

    (x, y), (val_x, val_y) = table("train"), table("test")
    width = x.shape[1]
    accuracies = []
    for seed in range(5):
        torch.manual_seed(seed)
        norm = lambda n: torch.nn.BatchNorm1d(n, eps=1e-3, momentum=0.01)
        fc1, fc2 = torch.nn.Linear(width, 512), torch.nn.Linear(512, 3)
        for fc in (fc1, fc2):
            torch.nn.init.xavier_uniform_(fc.weight)
            torch.nn.init.zeros_(fc.bias)
        dropout = lambda: torch.nn.Dropout(0.5)
        head = torch.nn.Sequential(norm(width), dropout(), fc1, torch.nn.ReLU(), norm(512), dropout(), fc2)
        optimizer = torch.optim.Adam(head.parameters(), 1e-3, eps=1e-7)
        best, best_accuracy, reference, wait = float("inf"), 0.0, float("inf"), 0
        for epoch in range(20):
            head.train()
            for rows in torch.randperm(len(x)).split(64):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(head(x[rows]), y[rows]).backward()
                optimizer.step()
            head.eval()
            with torch.inference_mode():
                logits = head(val_x)
                loss = torch.nn.functional.cross_entropy(logits, val_y).item()
                accuracy = (logits.argmax(1) == val_y).float().mean().item()
            if loss < best:
                best, best_accuracy = loss, accuracy
            wait += 1
            if loss + 1e-4 < reference:
                reference, wait = loss, 0
            elif wait >= 2 and epoch > 0:
                break
        accuracies.append(best_accuracy)
    return {"version": f"torch {torch.__version__}, timm {timm.__version__}", "accuracies": accuracies}


if __name__ == "__main__":
    what = {"keras": keras_minutes, "timm": timm_accuracies}[sys.argv[1]]
    print(json.dumps(what(sys.argv[2])))
