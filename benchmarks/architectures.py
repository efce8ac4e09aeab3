"""Each decoder, and U-Net's on ResNet50 too, on the offline sample: size, speed, mean IoU after equal time.

All have their default sizes, start from random weights, see images as they are (`enlargement: 1`), and are trained by
the default recipe for `seconds`. Draws what they predict on a test image to output/benchmarks/architectures.png.
"""

import glob
import os
import statistics
import time
from typing import Any

from common import (
    CACHE,
    arguments,
    evaluated,
    in_fresh_process,
    report,
    run_pipeline,
    sample_folder,
    scratch,
)

from models.settings import ModelSettings

_RANDOM: dict[str, Any] = {"encoder_weights": "none"}
_RESNET50 = {**_RANDOM, "encoder": "resnet50", "enlargement": 1}
_MODELS = {
    "unet": {"encoder": "plain"},
    "unet_resnet50": _RESNET50,
    "segnet": {**_RANDOM, "encoder": "vgg16", "decoder": "segnet"},
    "deeplab_v3_plus": {**_RESNET50, "decoder": "deeplab_v3_plus"},
}


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, seconds=180, pixels=128, batch_size=16, models=len(_MODELS))
    base = {
        "preprocessing": {"height": sizes.pixels, "width": sizes.pixels, "channels": 1, "resize": "pad"},
        "gate": {"min": {"mean_iou": 0}},
    }
    lines, maps = {}, {}
    with scratch() as folder:
        output = str(folder / "run")
        for name, chosen in list(_MODELS.items())[: sizes.models]:
            sections = {**base, "model": chosen}
            train = {"minutes": sizes.seconds / 60}
            measured = run_pipeline(output, sample_folder(), "Evaluator", **sections, train=train)
            models = glob.glob(f"{output}/artifacts/Trainer/model/*/Format-Serving")
            model = max(models, key=os.path.getmtime)
            served, maps[name] = in_fresh_process(_serve, model, sizes.batch_size)
            lines[name] = {
                "parameters": in_fresh_process(_parameters, sections),
                "training_images_per_s": round(measured["Trainer"]["images_per_second"], 1),
                "serving_images_per_s": round(served, 1),
                "mean_iou": round(in_fresh_process(evaluated, output), 4),
                "epochs": measured["Trainer"]["epochs"],
                "seconds": round(measured["Trainer"]["seconds"]),
            }
    picture = str(CACHE / "architectures.png")
    in_fresh_process(_draw, maps, picture)
    values = {name: line["mean_iou"] for name, line in lines.items()}
    report(
        "architectures",
        max(values.values()),
        "mean IoU",
        "mean of all models",
        statistics.mean(values.values()),
        **{**vars(sizes), "models": lines},
        picture=picture,
    )


def _parameters(sections: dict) -> int:
    from models.inputs.settings import PreprocessingSettings
    from models.network import build_model

    shape = PreprocessingSettings.model_validate(sections["preprocessing"])
    settings = ModelSettings.model_validate(sections["model"])
    return build_model(settings, (shape.height, shape.width, shape.channels), 4, "float32").count_params()


def _test_features() -> list:
    import tensorflow as tf

    return [
        tf.train.Example.FromString(record.numpy()).features.feature
        for path in sorted(glob.glob(f"{sample_folder()}/test-*"))
        for record in tf.data.TFRecordDataset(path)
    ]


def _serve(model: str, batch_size: int):
    """Images a second of batches of encoded images, and the class ids of the image in the middle of the test split."""
    import tensorflow as tf

    from data import contract

    images = [features[contract.IMAGE].bytes_list.value[0] for features in _test_features()]
    serve = tf.saved_model.load(model).signatures["serving_default"]
    batch = tf.constant((images * batch_size)[:batch_size])
    seconds = []
    for _ in range(6):
        started = time.monotonic()
        serve(batch)
        seconds.append(time.monotonic() - started)
    class_ids = serve(tf.constant([images[len(images) // 2]]))["class_ids"].numpy()[0]
    return batch_size / statistics.median(seconds[1:]), class_ids


def _draw(maps: dict, path: str) -> None:
    """The image, its label and the predictions side by side, twice as large, with their names above."""
    import numpy as np
    import tensorflow as tf
    from PIL import Image, ImageDraw

    from data import contract
    from data.label_map import LabelMap
    from models.inputs.preprocessing import placement

    every = _test_features()
    features = every[len(every) // 2]
    palette = np.array(LabelMap.load(str(sample_folder() / contract.LABEL_MAP_FILE)).palette, np.uint8)
    image, mask = (
        tf.io.decode_png(features[name].bytes_list.value[0], 1).numpy()[..., 0]
        for name in (contract.IMAGE, contract.MASK)
    )
    height, width = image.shape
    panels = {"image": np.repeat(image[..., np.newaxis], 3, axis=-1), "label": palette[mask]}
    for name, class_ids in maps.items():
        top, left, inner_height, inner_width = (int(x) for x in placement(height, width, *class_ids.shape, "pad"))
        inside = Image.fromarray(class_ids[top : top + inner_height, left : left + inner_width])
        panels[name] = palette[np.array(inside.resize((width, height), Image.Resampling.NEAREST))]
    title = 16
    canvas = Image.new("RGB", (len(panels) * width, height + title), "white")
    for index, (name, pixels) in enumerate(panels.items()):
        canvas.paste(Image.fromarray(pixels), (index * width, title))
        ImageDraw.Draw(canvas).text((index * width + 4, 2), name, fill="black")
    canvas.save(path, optimize=True)


if __name__ == "__main__":
    main()
