"""`segpipe predict` on a folder of photographs, files written, against the bare network: images a second of both.

Predict reads and decodes each photograph, resizes it, runs the network, brings the mask to the photograph's size, and
writes mask and overlay as PNG files. The bare network takes one image of the model's size after the other. They take
turns in one process, warm, on all cores.
"""

import itertools
import pathlib
import time

from common import alternating, arguments, dataset, in_fresh_process, report, scratch, source_folder, trained_model


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, filters=32, depth=4, pixels=128, images=1000, rounds=5)
    with scratch() as folder:
        model = trained_model(folder, dataset(train=16, evaluation=4, test=4, shards=1), sizes)
        predicted, bare = in_fresh_process(_measure, model, str(folder), sizes.images, sizes.rounds)
    report("predict", predicted, "images/s", "the bare network, one image after the other", bare, **vars(sizes))


def _measure(model: str, folder: str, count: int, rounds: int) -> tuple[float, float]:
    """Images a second of `predict` and of the network."""
    from models.exports.network import Network
    from models.serving.inputs import find_inputs
    from models.serving.predict import predict

    network = Network(model)
    photographs = _photographs(pathlib.Path(folder, "photographs"), count)
    seen = [network.pixels(pathlib.Path(path).read_bytes()) for path in photographs[:20]]
    share = -(-count // rounds)
    turns = itertools.count()

    def predicted() -> float:
        turn = next(turns)
        output = str(pathlib.Path(folder, f"predictions{turn}"))
        inputs = find_inputs(photographs[turn * share : (turn + 1) * share], output).files
        results = predict(model, inputs, output)
        next(results)  # The model is loaded, and its first image is slow.
        started = time.perf_counter()
        return sum(not result.error for result in results) / (time.perf_counter() - started)

    def bare() -> float:
        started = time.perf_counter()
        for pixels in itertools.islice(itertools.cycle(seen), share):
            network.segment(pixels)["class_ids"].numpy()
        return share / (time.perf_counter() - started)

    bare()
    predicted_rate, bare_rate = alternating(rounds, predicted, bare)
    return predicted_rate, bare_rate


def _photographs(folder: pathlib.Path, count: int) -> list[str]:
    """Files of the images of the source, again and again until there are so many."""
    import tensorflow as tf

    from data import contract
    from data.decoding.structure import PNG_SIGNATURE

    folder.mkdir()
    images = [
        tf.train.Example.FromString(record.numpy()).features.feature[contract.IMAGE].bytes_list.value[0]
        for record in tf.data.TFRecordDataset(sorted(map(str, source_folder().glob("*.tfrecord"))))
    ]
    paths = []
    for number in range(count):
        image = images[number % len(images)]
        paths.append(folder / f"{number:05d}.{'png' if image.startswith(PNG_SIGNATURE) else 'jpg'}")
        paths[-1].write_bytes(image)
    return list(map(str, paths))


if __name__ == "__main__":
    main()
