"""The bare training step of two networks against the same networks in PyTorch: a line for each.

`plain` is U-Net with 32 filters, `default` what segpipe trains by default. A step is the forward pass on one batch in
memory, loss, gradients and the optimizer's update, in the number format that segpipe chooses, or that is faster in
PyTorch, whose maps have the channels last; the reference is the faster of `kinds`, eager and compiled. All take turns,
in processes of their own; rates are medians, with the smallest and the largest. PyTorch's need `tools/pytorch.sh`, or
the Python that the environment variable PYTORCH_PYTHON names; without it there is no reference.
"""

import json
import pathlib
import statistics
import subprocess
import sys
from typing import Any

from common import PYTORCH, arguments, in_fresh_process, report
from recipes import chosen
from reference import training_step_rate

_CLASSES = 3
_KINDS = ("eager", "compiled")
_NETWORKS: dict[str, dict[str, Any]] = {
    "plain": {"encoder": "plain", "deep_supervision": False},
    "default": {"encoder_weights": "none"},
}


def main() -> None:
    """Measures and prints."""
    sizes = arguments(
        __doc__, pixels=128, batch_size=16, steps=15, rounds=3, networks=",".join(_NETWORKS), kinds=",".join(_KINDS)
    )
    for network in chosen(sizes.networks, _NETWORKS):
        sections = {
            "preprocessing": {"height": sizes.pixels, "width": sizes.pixels},
            "model": _NETWORKS[network],
            "train": {"batch_size": sizes.batch_size},
            "label_map": [],
        }
        ours, theirs = [], {kind: [] for kind in chosen(sizes.kinds, _KINDS) if PYTORCH.exists()}
        formats = set()
        for _ in range(sizes.rounds):
            ours.append(in_fresh_process(training_step_rate, sections, _CLASSES, sizes.steps))
            for kind, rates in theirs.items():
                found = _pytorch(network, kind, sizes.pixels, sizes.batch_size, sizes.steps)
                rates.append(found["images_per_s"])
                formats.add(found["format"])
                parameters = found["parameters"]
        best = max(theirs, key=lambda kind: statistics.median(theirs[kind]), default=None)
        report(
            "step",
            statistics.median(ours),
            f"images/s, {network}",
            f"the same network in PyTorch, {best}, {', '.join(sorted(formats))}" if best else "none",
            statistics.median(theirs[best]) if best else None,
            **vars(sizes) | {"networks": network},
            parameters=in_fresh_process(_parameters, sections),
            pytorch_parameters=parameters if best else None,
            spread={"segpipe": _spread(ours), **{kind: _spread(rates) for kind, rates in theirs.items()}},
        )


def _spread(rates: list[float]) -> list[float]:
    return [round(min(rates), 2), round(max(rates), 2)]


def _parameters(sections: dict[str, Any]) -> int:
    from models.training.settings import TrainerConfig
    from models.training.trainer import compiled_model

    model = compiled_model(TrainerConfig.model_validate(sections), _CLASSES, "float32")
    return sum(weight.value.shape.num_elements() for weight in model.trainable_weights)


def _pytorch(network: str, kind: str, *numbers: int) -> dict[str, Any]:
    script = str(pathlib.Path(__file__).with_name("step_pytorch.py"))
    command = [str(PYTORCH), "-W", "ignore", script, network, kind, *map(str, numbers)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        sys.exit(finished.stderr)
    return json.loads(finished.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
