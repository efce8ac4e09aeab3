"""How many planted faults of labels does an audit find in the first tenth of its list?

In a share of the masks two classes are swapped, the mask is shifted, or all objects are missing, one third each, in all
splits. The model that judges has learned from these labels, faults among them; with --folds, no network of it has
learned from the labels that it judges.
"""

import itertools
import pathlib
import random
import shutil
import statistics
import sys

from common import arguments, in_fresh_process, report, run_pipeline, scratch, source_folder

KINDS = ("swapped", "shifted", "missing")
# What the audit must find, by the first tenth of its list.
TENTH = 0.1
BACKGROUND = "background"


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, seeds=3, pixels=96, epochs=10.0, folds=0, share=0.05, shift=20)
    results = []
    for seed in range(sizes.seeds):
        with scratch() as folder:
            planted = in_fresh_process(plant, str(folder / "data"), seed, sizes.share, sizes.shift)
            run_pipeline(
                str(folder / "run"),
                folder / "data",
                "Trainer",
                preprocessing={"height": sizes.pixels, "width": sizes.pixels},
                train={"epochs": sizes.epochs, "seed": seed, "folds": sizes.folds},
            )
            (model,) = (folder / "run").glob("artifacts/Trainer/model/*/Format-Serving")
            ranks, images = in_fresh_process(audited, str(model), str(folder / "data"), list(planted))
        found = {
            kind: [rank < TENTH * images for name, rank in ranks.items() if planted[name] == kind] for kind in KINDS
        }
        results.append(found)
        print(f"seed {seed}: {_counts(found)}; ranks {sorted(ranks.values())} of {images}", file=sys.stderr, flush=True)
    recalls = [statistics.mean(itertools.chain(*found.values())) for found in results]
    report(
        "audit",
        statistics.mean(recalls),
        "share of the planted faults in the first tenth of the list",
        "an order by chance",
        TENTH,
        **vars(sizes) | {"recalls": [round(value, 3) for value in recalls], "found": [_counts(one) for one in results]},
    )


def _counts(found: dict[str, list[bool]]) -> dict[str, str]:
    return {kind: f"{sum(of_kind)} of {len(of_kind)}" for kind, of_kind in found.items()}


def plant(destination: str, seed: int, share: float, shift: int) -> dict[str, str]:
    """Copies the pets with faults in some masks, and returns the kind of each by the name of its image."""
    import numpy as np
    import tensorflow as tf

    from data import contract
    from data.decoding.images import encode_png
    from data.label_map import LabelMap

    source, folder = source_folder(), pathlib.Path(destination)
    folder.mkdir()
    background = LabelMap.load(str(source / contract.LABEL_MAP_FILE)).names.index(BACKGROUND)
    shutil.copy(source / contract.LABEL_MAP_FILE, folder)
    records = {
        path.name: [tf.train.Example.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
        for path in sorted(source.glob("*.tfrecord"))
    }
    names = sorted(_name(example) for examples in records.values() for example in examples)
    chosen = random.Random(seed).sample(names, round(share * len(names)))
    planted = {name: KINDS[index % len(KINDS)] for index, name in enumerate(chosen)}
    generator = np.random.default_rng(seed)
    for file, examples in records.items():
        with tf.io.TFRecordWriter(str(folder / file)) as writer:
            for example in examples:
                if kind := planted.get(_name(example)):
                    (mask,) = example.features.feature[contract.MASK].bytes_list.value
                    wrong = _wrong(tf.io.decode_png(mask, 1).numpy()[..., 0], kind, background, shift, generator)
                    example.features.feature[contract.MASK].bytes_list.value[0] = encode_png(wrong)
                writer.write(example.SerializeToString())
    return planted


def _name(example):
    from data import contract

    return example.features.feature[contract.SOURCE_ID].bytes_list.value[0].decode()


def _wrong(mask, kind: str, background: int, shift: int, generator):
    """A mask with a fault."""
    import numpy as np

    if kind == "swapped":
        thing = np.bincount(mask[mask != background], minlength=1).argmax()
        return np.select([mask == background, mask == thing], [thing, background], mask).astype(np.uint8)
    if kind == "missing":
        return np.full_like(mask, background)
    angle = generator.uniform(0, 2 * np.pi)
    rows, columns = (
        np.clip(np.arange(length) - round(shift * along), 0, length - 1)
        for length, along in zip(mask.shape, (np.sin(angle), np.cos(angle)), strict=True)
    )
    return mask[rows][:, columns]


def audited(model: str, data: str, planted: list[str]) -> tuple[dict[str, int], int]:
    """Where the planted faults are in the list, from 0 on, and how long it is."""
    from data.input_files import find_input_files
    from models.auditing.audit import audit
    from models.auditing.judges import Judges

    files = {split: [file.path for file in of] for split, of in find_input_files(data).of_split.items()}
    names = [finding.image for finding in audit(Judges(model), files, shown=0).findings]
    return {name: names.index(name) for name in planted}, len(names)


if __name__ == "__main__":
    main()
