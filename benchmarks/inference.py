"""Each network in each form, one image at a time and in batches: milliseconds an image, and the process's peak memory.

The forms are the network in TensorFlow, ONNX Runtime, LiteRT in floats and in integers; of the plain U-Net also the
same network in PyTorch, eager and compiled, where `tools/pytorch.sh` installed it. Each runs in a process of its own on
all cores and takes pixels in 8 bits. Weights are random, which changes no time. Batches of large images are smaller.
`--table 1` prints a table, too: milliseconds alone / in batches (megabytes).
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from common import PYTORCH, ROOT, arguments, peak_megabytes, report, scratch

_CLASSES = 3
_NETWORKS: dict[str, dict[str, Any]] = {
    "unet": {"encoder": "plain"},
    "efficientnet_lite0": {"encoder_weights": "none"},
    "real time": {"encoder_weights": "none", "enlargement": 1, "filters": 4},
    "mobilenet_v3_large": {"encoder": "mobilenet_v3_large", "encoder_weights": "none"},
    "resnet50": {"encoder": "resnet50", "encoder_weights": "none"},
    "deeplab_v3_plus on resnet50": {"encoder": "resnet50", "decoder": "deeplab_v3_plus", "encoder_weights": "none"},
}
_SIZES = ((128, 128), (256, 256), (512, 1024))
_BATCH_PIXELS = 2**20
_FORMS = ("onnx", "tflite", "tflite_int8")


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, networks=",".join(_NETWORKS), sizes=len(_SIZES), batch=16, seconds=2.0, table=0)
    rows = []
    if unknown := set(sizes.networks.split(",")) - set(_NETWORKS):
        sys.exit(f"--networks: there is no {', '.join(unknown)}; there are {', '.join(_NETWORKS)}")
    for name in sizes.networks.split(","):
        settings = _NETWORKS[name]
        for height, width in _SIZES[: sizes.sizes]:
            batch = max(1, min(sizes.batch, _BATCH_PIXELS // (height * width)))
            row: dict[str, Any] = {"network": name, "size": f"{height}x{width}", "batch": batch}
            with scratch() as folder:
                shape = (height, width, 3)
                runs = {"saved_model": _alone(_saved_model, settings, shape, batch, sizes.seconds)}
                _alone(_convert, settings, shape, str(folder))
                for form in _FORMS:
                    runs[form] = _alone(_exported, form, str(folder), shape, batch, sizes.seconds)
            if name == "unet" and PYTORCH.exists():
                for kind in ("eager", "compiled"):
                    command = [str(PYTORCH), str(pathlib.Path(__file__).with_name("inference_pytorch.py"))]
                    command += [kind, json.dumps(shape), str(batch), str(sizes.seconds)]
                    runs[f"pytorch_{kind}"] = _printed(command)
            rows.append({**row, "runs": runs})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    first = rows[0]["runs"]
    report(
        "inference",
        1000 / first["tflite_int8"]["milliseconds"],
        "images/s of U-Net in LiteRT in integers, one at a time",
        "the SavedModel's network in TensorFlow",
        1000 / first["saved_model"]["milliseconds"],
        **vars(sizes),
        rows=rows,
    )
    if sizes.table:
        _print_table(rows)


def _alone(function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function in a process that has imported nothing, so that its memory is the runtime's."""
    return _printed([sys.executable, "-W", "ignore", "-c", _CALL, function.__name__, json.dumps(args)])


_CALL = """
import json, sys
import inference

print(json.dumps(getattr(inference, sys.argv[1])(*json.loads(sys.argv[2]))))
"""


def _printed(command: list[str]) -> Any:
    """The last line that a program prints, which is JSON."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(pathlib.Path(__file__).parent), str(ROOT)])}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def _network(settings: dict[str, Any], shape: tuple[int, int, int]) -> Any:
    """What an export is made from, as `models.exports.network.Network` has it, without a trained model."""
    import types

    import numpy as np
    import tensorflow as tf

    from models.exports.network import outputs_of
    from models.inputs.preprocessing import normalize
    from models.network import build_model
    from models.settings import ModelSettings

    model = build_model(ModelSettings.model_validate(settings), tuple(shape), _CLASSES, "float32")
    module = tf.Module()
    module.model = model
    module.logits = tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec([None, *shape], tf.float32)],
        autograph=False,
    )
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder)
        loaded = tf.saved_model.load(folder)
    mean, scale = (np.full([1, 3], value, np.float32) for value in (120, 0.02))

    def segment(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return outputs_of(loaded.logits(normalize(pixels, mean, scale)))

    signature = [tf.TensorSpec([None, *shape], tf.uint8, name="pixels")]
    return types.SimpleNamespace(
        segment=tf.function(segment, input_signature=signature, autograph=False), saved_model=loaded
    )


def _saved_model(settings: dict[str, Any], shape: tuple[int, int, int], batch: int, seconds: float) -> dict[str, float]:
    network = _network(settings, shape)
    return timed(lambda pixels: network.segment(pixels)["class_ids"].numpy(), shape, batch, seconds)


def _convert(settings: dict[str, Any], shape: tuple[int, int, int], folder: str) -> None:
    import numpy as np

    from models.exports import FORMATS

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # The converters' chatter.
    network = _network(settings, shape)
    images = list(np.random.default_rng(0).integers(0, 256, [4, *shape]).astype(np.uint8))
    for form in _FORMS:
        content = FORMATS[form]().convert(network, images, {})
        pathlib.Path(folder, FORMATS[form].file).write_bytes(content)


def _exported(form: str, folder: str, shape: tuple[int, int, int], batch: int, seconds: float) -> dict[str, float]:
    from models.exports import FORMATS

    return timed(FORMATS[form]().load(str(pathlib.Path(folder, FORMATS[form].file))), shape, batch, seconds)


def timed(segment: Any, shape: tuple[int, int, int], batch: int, seconds: float) -> dict[str, float]:
    """Milliseconds an image, alone and in a batch, and peak memory in megabytes."""
    import numpy as np

    pixels = np.random.default_rng(0).integers(0, 256, [batch, *shape]).astype(np.uint8)
    found = {}
    for name, images in (("milliseconds", pixels[:1]), ("milliseconds_in_batches", pixels)):
        segment(images)  # So that all is warm.
        took: list[float] = []
        while not took or sum(took) < seconds:
            started = time.perf_counter()
            segment(images)
            took.append(time.perf_counter() - started)
        found[name] = round(1000 * statistics.median(took) / len(images), 3)
    return {**found, "peak_megabytes": round(peak_megabytes())}


def _print_table(rows: list[dict[str, Any]]) -> None:
    forms = list(dict.fromkeys(form for row in rows for form in row["runs"]))
    print("| network | size | " + " | ".join(forms) + " |")
    print("|---" * (2 + len(forms)) + "|")
    for row in rows:
        cells = [
            "{milliseconds:.0f} / {milliseconds_in_batches:.0f} ({peak_megabytes})".format(**row["runs"][form])
            if form in row["runs"]
            else ""
            for form in forms
        ]
        print(f"| {row['network']} | {row['size']} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
