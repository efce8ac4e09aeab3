"""Predicts scenes: GeoTIFFs that lie somewhere on the ground, into GeoTIFFs that lie there too."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from data.decoding.errors import BadImageError
from data.formats.geotiff.scene import Scene, look_at_scene, opened, read_header
from data.writing.scenes import scene_mask, write_polygons
from models.serving.loaded_model import LoadedModel
from models.serving.scenes.windows import SceneSegmentation, Sight, segment_scene

_EXTENSIONS = (".tif", ".tiff")


def find_scene(path: str, max_pixels: int) -> Scene | None:
    """What the header of a scene says; None if a file is none, but an image as others are.

    Args:
      path: the file.
      max_pixels: a scene that is stored in larger blocks is refused.

    Raises:
      BadImageError: if it is a scene that cannot be read.
    """
    if not path.lower().endswith(_EXTENSIONS) or not os.path.isfile(path):  # At a pipe, reading would wait.
        return None
    try:
        with opened(path) as raster:
            is_scene = bool(read_header(raster, path).crs)
    except (BadImageError, OSError):  # Whoever reads it as an image says why.
        return None
    return look_at_scene(path, max_pixels) if is_scene else None


def predict_scene(
    model: LoadedModel,
    scene: Scene,
    paths: Mapping[str, str],
    software: str,
    progress: Callable[[float], None],
) -> SceneSegmentation:
    """Writes the class ids of a scene, and its polygons if a path is given for them.

    Args:
      model: the model; of one that tells objects apart, the classes alone are written.
      scene: the scene.
      paths: of the results `mask` and `polygons`.
      software: who writes them, for the tag of that name.
      progress: called with the share of the scene that is done.

    Raises:
      BadImageError: if the scene cannot be read, or the model does not take its bands.
      OSError: if the results cannot be written.
    """
    known = model.input.band_names
    if known and scene.names and list(scene.names) != known:
        raise BadImageError(f"its bands are {', '.join(scene.names)}, and the model was trained on {', '.join(known)}")
    nodata = model.input.nodata
    with scene_mask(paths["mask"], scene, model.label_map, software) as write:
        found = segment_scene(scene.path, scene, model.segment_whole, Sight.of(model), nodata, write, progress)
    if "polygons" in paths:
        write_polygons(paths["mask"], paths["polygons"], model.label_map, software)
    return found
