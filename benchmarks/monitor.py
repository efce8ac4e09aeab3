"""How often does the monitor alert without a reason, and does it find changes within a day?

A model learns from some cats of two breeds. The others are divided by chance, again and again, into images that stand
for the training data and the images of a day: as they are; brighter by a fifth; blurred; and, in their place, dogs.
The value is the share of days with an alert where nothing has changed. Without the pets, there are slices and no dogs.
"""

import io
import pathlib

from common import arguments, in_fresh_process, report, run_pipeline, scratch, source_folder

_DOGS = "american_bulldog"


def main() -> None:
    """Measures and prints."""
    sizes = arguments(
        __doc__, pixels=96, epochs=5.0, train=50, day=80, days=200, gain=1.2, blur=1.5, level=0.01, images=1000
    )
    with scratch() as folder:
        in_fresh_process(_divide, str(folder / "data"), sizes.train)
        run_pipeline(
            str(folder / "run"),
            folder / "data",
            "Trainer",
            preprocessing={"height": sizes.pixels, "width": sizes.pixels},
            train={"epochs": sizes.epochs},
        )
        (model,) = (folder / "run").glob("artifacts/Trainer/model/*/Format-Serving")
        found = in_fresh_process(_alerts, str(model), str(folder / "data"), vars(sizes))
    report(
        "monitor", found["unchanged"]["alerts"], "share of days with an alert", "the level", sizes.level,
        **vars(sizes) | {"found": found},
    )  # fmt: skip


def _divide(destination: str, train: int) -> None:
    """Writes the cats that the model learns from; as its eval and test serve some of these."""
    import shutil

    import tensorflow as tf

    from data import contract

    folder = pathlib.Path(destination)
    folder.mkdir()
    shutil.copy(source_folder() / contract.LABEL_MAP_FILE, folder)
    chosen = _records()[0][:train]
    for split, records in (("train", chosen), ("eval", chosen[:10]), ("test", chosen[:10])):
        with tf.io.TFRecordWriter(str(folder / f"{split}-00000-of-00001.tfrecord")) as writer:
            for record in records:
                example = tf.train.Example.FromString(record)
                name = example.features.feature[contract.SOURCE_ID].bytes_list
                name.value[0] = f"{split}/".encode() + name.value[0]
                writer.write(example.SerializeToString())


def _records() -> tuple[list[bytes], list[bytes]]:
    """The cats, and the dogs, in an order by chance that is always the same."""
    import random

    import tensorflow as tf

    from data import contract

    cats, dogs = [], []
    for path in sorted(source_folder().glob("*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            name = tf.train.Example.FromString(record).features.feature[contract.SOURCE_ID].bytes_list.value[0]
            (dogs if _DOGS in name.decode() else cats).append(record)
    generator = random.Random(0)
    generator.shuffle(cats)
    generator.shuffle(dogs)
    return cats, dogs


def _alerts(model: str, data: str, sizes: dict) -> dict[str, dict]:
    import collections
    import dataclasses

    import numpy as np
    import tensorflow as tf
    from PIL import Image, ImageFilter

    from data import contract
    from models.monitoring.comparison import compare
    from models.monitoring.measures import Measured, Measurer

    measurer = Measurer(model)
    assert not measurer.remark, measurer.remark

    def images(records: list[bytes]) -> list[bytes]:
        features = (tf.train.Example.FromString(record).features.feature for record in records)
        return [of_image[contract.IMAGE].bytes_list.value[0] for of_image in features]

    def changed(image: bytes, change) -> bytes:
        buffer = io.BytesIO()
        change(Image.open(io.BytesIO(image)).convert("RGB")).save(buffer, "PNG")
        return buffer.getvalue()

    cats, dogs = (images(records)[: sizes["images"]] for records in _records())
    cats = cats[sizes["train"] :]
    gain = [changed(image, lambda it: it.point(lambda value: min(255, int(sizes["gain"] * value)))) for image in cats]
    blur = [changed(image, lambda it: it.filter(ImageFilter.GaussianBlur(sizes["blur"]))) for image in cats]
    measured = {
        name: measurer.measure(of_name)
        for name, of_name in (("unchanged", cats), ("brighter", gain), ("blurred", blur), ("another breed", dogs))
        if of_name
    }

    def part(of: Measured, places: np.ndarray) -> Measured:
        statistics = {name: values[places] for name, values in of.statistics.items()}
        return dataclasses.replace(
            of, statistics=statistics, class_shares=of.class_shares[places], embeddings=of.embeddings[places]
        )

    generator, found = np.random.default_rng(0), {}
    for name, of_name in measured.items():
        count, alerts, what = 0, 0, collections.Counter[str]()
        for _ in range(sizes["days"] if name == "unchanged" else max(1, sizes["days"] // 5)):
            order = generator.permutation(len(measured["unchanged"]))
            day, reference = order[: sizes["day"]], order[sizes["day"] :]
            if len(of_name) != len(measured["unchanged"]):
                day = generator.permutation(len(of_name))[: sizes["day"]]
            tests = compare(part(measured["unchanged"], reference), part(of_name, day), measurer.class_names)
            names = [test.name for test in tests if test.p < sizes["level"]]
            count, alerts = count + 1, alerts + bool(names)
            what.update(names)
        found[name] = {"days": count, "alerts": alerts / count, "by": dict(what), "compared_with": len(reference)}
    return found


if __name__ == "__main__":
    main()
