"""Bytes that Transform stores for each example, against the raw 8-bit pixels of its image and mask.

The bytes are marginal: what more examples add to Transform's artifacts. What the trainer itself keeps of an example
while it trains, in memory or in a temporary file, is `trainer_cache_bytes`.
"""

import pathlib

from common import arguments, dataset, ingested, report, run_pipeline

from models.inputs.input_pipeline import pixel_bytes
from models.inputs.settings import PreprocessingSettings


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, small=20, large=40, pixels=128)
    shape = PreprocessingSettings(height=sizes.pixels, width=sizes.pixels)
    stored = {}
    for count in (sizes.small, sizes.large):
        data = dataset(train=count)
        with ingested(data) as output:
            run_pipeline(output, data, "Transform", preprocessing=shape.model_dump())
            stored[count] = _bytes(pathlib.Path(output, "artifacts", "Transform"))
    report(
        "stored_bytes",
        (stored[sizes.large] - stored[sizes.small]) / (sizes.large - sizes.small),
        "bytes/example",
        "raw 8-bit pixels of image and mask",
        float(sizes.pixels**2 * (shape.channels + 1)),
        **vars(sizes),
        trainer_cache_bytes=sizes.pixels**2 * pixel_bytes(shape, has_objects=False),
        bytes_whatever_the_number=stored[sizes.large],
    )


def _bytes(folder: pathlib.Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
