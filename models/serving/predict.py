"""Predicts with a pushed model: class-id masks, objects and colored overlays at each image's own size."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf
from PIL import Image

from data.base.errors import UserError, one_line
from data.decoding.images import BadImageError, read_image
from data.decoding.pictures import picture_of
from data.decoding.structure import JPEG_SIGNATURE, PNG_SIGNATURE
from data.formats.geotiff.polygons import pyogrio_raw
from data.formats.geotiff.scene import Scene
from data.formats.volume.files import is_volume
from data.writing import AnnotatedImage
from data.writing.folders import AnnotationFolders, annotation_folders
from data.writing.objects import ObjectFiles, is_edge, object_files, panoptic_colors, panoptic_ids
from models.exports import SAVED_MODEL
from models.serving.inputs import holds_records, read_images
from models.serving.loaded_model import LoadedModel, WholeImage, load_model, strips
from models.serving.pictures import draw_overlay, save_pictures
from models.serving.results.files import MARK, RESULTS_FILE, Output
from models.serving.results.prediction import Prediction
from models.serving.scenes.predict import find_scene, predict_scene
from models.serving.videos.files import is_video
from models.serving.videos.predict import predict_video
from models.serving.volumes.masks import values_of_masks
from models.serving.volumes.measures import Measures, measure_file, surface_distance
from models.serving.volumes.prediction import SegmentedVolume, mask_extension, predict_volume

# Of which two may be in memory.
_SMALL_PIXELS = 2**22
_T = TypeVar("_T")


def predict(
    model: str,
    inputs: dict[str, str],
    output: str,
    max_pixels: int = 100_000_000,
    progress: Callable[[str, float], None] = lambda image, share: None,
    formats: Sequence[str] = (),
    tolerance: float = 1.0,
    polygons: bool = False,
    masks: Mapping[str, str] | None = None,
    labels: str = "",
    frames: bool = False,
    runtime: str = SAVED_MODEL,
    tell: Callable[[str], None] = lambda line: None,
) -> Iterator[Prediction]:
    """Writes `NAME_mask.png` (class ids) and `NAME_overlay.png` for each image, going on after bad files.

    Of a GeoTIFF that lies somewhere on the ground it writes `NAME_mask.tif`, as `models.serving.scenes` says.

    A model that tells objects apart has `NAME_instances.png` and `NAME_panoptic.png` too, and all of its objects are
    in the files of `data.writing.objects`. Of a volume there is a mask of its own kind (`models.serving.volumes`) and
    nothing else. Each prediction is also a line of `predictions.jsonl`. Of large images one is in memory at a time.

    Args:
      model: folder of a SavedModel, or a push destination, whose deployed version is taken.
      inputs: files with the names of their results, as `find_inputs` returns them; in a TFRecord file that keeps the
        data contract, every image is predicted.
      output: folder to make.
      max_pixels: images with more are not decoded.
      progress: called with an image and its share that is done, now and then, if it is segmented in parts.
      formats: of labeling tools, for which annotations are written as well, by their names in `data.writing.WRITERS`.
      tolerance: how far outlines in annotations may lie from the edges of pixels, in pixels.
      polygons: write `NAME_polygons.gpkg` for each scene as well.
      masks: paths of masks that people made of volumes, by the volumes' paths; these predictions are measured.
      labels: a file that says which of these masks' values are which class; by default they are class ids.
      frames: write `NAME_000001_mask.png` and so on for the frames of each video as well.
      runtime: what the network runs in, as for `LoadedModel`.
      tell: called with what was chosen.

    Raises:
      UserError: if there is no model, it does not run in that runtime, the folder cannot be made, annotations or
        someone else's files are there already, the package for polygons or distances is missing, or `labels` has other
        classes than the model.
    """
    if polygons:
        pyogrio_raw()
    if masks:
        surface_distance()
    loaded = load_model(model, runtime)
    for line in loaded.runtime.lines():
        tell(line)
    masks = masks or {}
    references = _References(masks, values_of_masks(loaded.label_map, labels))
    target = Output(output, [*inputs, *masks.values()], list(inputs.values()))
    path = os.path.join(output, RESULTS_FILE)
    with contextlib.ExitStack() as stack:
        files = None
        try:
            os.makedirs(output, exist_ok=True)
            annotations = stack.enter_context(
                annotation_folders(output, formats, loaded.label_map_with_kinds, tolerance)
            )
            if loaded.has_objects:
                files = stack.enter_context(object_files(output, loaded.label_map, loaded.things))
            lines = stack.enter_context(open(path, "w", encoding="utf-8"))
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}; choose another --output") from None
        predictor = _Predictor(loaded, target, annotations, files, max_pixels, progress, polygons, frames, references)
        for prediction in predictor.predictions(inputs):
            lines.write(prediction.line(loaded.has_objects))
            lines.flush()
            yield prediction


@dataclasses.dataclass(frozen=True)
class _Image:
    """An image to predict.

    Attributes:
      label: what messages call it.
      result: what its results are called.
      content: the encoded image; empty where there is none.
      path: the file; empty for an image in a TFRecord.
    """

    label: str
    result: str
    content: bytes
    path: str

    @property
    def name(self) -> str:
        """What labeling tools call it: the path below the folder that was given, with the suffix."""
        if self.path:
            return os.path.join(os.path.dirname(self.result), os.path.basename(self.path))
        kinds = {PNG_SIGNATURE: ".png", JPEG_SIGNATURE: ".jpg"}
        return self.result + next((end for start, end in kinds.items() if self.content.startswith(start)), ".npy")


@dataclasses.dataclass(frozen=True)
class _References:
    """The masks of people that predictions of volumes are measured by.

    Attributes:
      masks: their paths by those of the volumes.
      values: the class id of each value that they may hold.
    """

    masks: Mapping[str, str]
    values: Mapping[int, int]


@dataclasses.dataclass(frozen=True)
class _Predictor:
    model: LoadedModel
    output: Output
    annotations: AnnotationFolders
    files: ObjectFiles | None
    max_pixels: int
    progress: Callable[[str, float], None]
    polygons: bool
    frames: bool
    references: _References

    def predictions(self, inputs: dict[str, str]) -> Iterator[Prediction]:
        """In the order of the inputs. A small image is written while the next one goes through the network."""
        with futures.ThreadPoolExecutor(1, "predict-write") as writer:
            written: Callable[[], Prediction] | None = None
            for label, step in self._steps(inputs):
                result = _outcome(label, step)
                if written:
                    yield written()
                    written = None
                if isinstance(result, Prediction):
                    yield result
                    continue
                write, is_large = result
                written = functools.partial(_outcome, label, writer.submit(write).result)
                if is_large:  # Two of them are not in memory at once.
                    yield written()
                    written = None
            if written:
                yield written()

    def _steps(self, inputs: dict[str, str]) -> Iterator[tuple[str, Callable[[], Any]]]:
        """What each prediction is called, and how it is made."""
        for path, stem in inputs.items():
            try:
                if (scene := find_scene(path, self.max_pixels)) is not None:
                    yield path, functools.partial(self._predict_scene, scene, stem)
                    continue
                if is_volume(path):
                    yield path, functools.partial(self._predict_volume, path, stem)
                    continue
                if is_video(path) and os.path.isfile(path):  # At a pipe, reading would wait.
                    yield path, functools.partial(self._predict_video, path, stem)
                    continue
                for name, content in read_images(path, stem):
                    if holds_records(path):
                        image = _Image(name, self.output.record_name(name), content, "")
                    else:
                        image = _Image(path, name, content, path)
                    yield image.label, functools.partial(self._segment, image)
            except UserError:
                raise
            except Exception as error:
                yield path, functools.partial(Prediction, path, _reason(error))

    def _segment(self, image: _Image) -> tuple[Callable[[], Prediction], bool]:
        """Puts an image through the network; returns what writes the results, and whether the image is large."""
        kinds = ("mask", "overlay", *(("instances", "panoptic") if self.model.has_objects else ()))
        paths = self.output.paths(image.result, dict.fromkeys(kinds, ".png"))
        if not image.content:
            raise BadImageError("it is empty")
        decoded = read_image(image.content, None, self.max_pixels)
        found = self.model.segment_whole(
            decoded.encoded, decoded.height, decoded.width, lambda share: self.progress(image.label, share)
        )
        write = functools.partial(self._write, image, decoded.encoded, found, paths)
        return write, found.class_ids.size > _SMALL_PIXELS

    def _write(self, image: _Image, encoded: bytes, found: WholeImage, paths: dict[str, str]) -> Prediction:
        class_ids, objects = found.class_ids, found.objects
        height, width = class_ids.shape
        edges = None if objects is None else is_edge(objects.numbers)
        pixels = picture_of(encoded, self.model.input.band_names, self.model.input.nodata)
        overlay = draw_overlay(pixels, class_ids, np.array(self.model.label_map.palette, np.uint8), edges)
        regions = self.annotations.regions(class_ids, objects)
        os.makedirs(os.path.dirname(paths["mask"]), exist_ok=True)
        pictures = {"mask": Image.fromarray(class_ids), "overlay": overlay}
        if objects is not None:
            pictures["instances"] = Image.fromarray(objects.numbers.astype(np.uint16))
            pictures["panoptic"] = Image.fromarray(panoptic_colors(panoptic_ids(class_ids, objects)))
        save_pictures({paths[kind]: picture for kind, picture in pictures.items()})
        if self.files and objects is not None:
            self.files.add(image.name, self.output.below(paths["panoptic"]), class_ids, objects)
        self.annotations.add(AnnotatedImage(image.name, image.result, image.path, height, width, regions))
        return Prediction(
            image.label,
            **paths,
            object_counts=objects.counts(self.model.label_map) if objects else None,
            objects=objects.described(self.model.label_map) if objects else None,
            height=height,
            width=width,
            shape=None,
            frames=None,
            measures=None,
            class_shares=self._shares(class_ids, strips(height, width)),
            confidence=round(found.confidence, 6),
        )

    def _predict_scene(self, scene: Scene, result: str) -> Prediction:
        paths = self.output.paths(result, {"mask": ".tif", **({"polygons": ".gpkg"} if self.polygons else {})})
        if self.annotations.are_wanted:
            raise BadImageError("--write is for images; of a scene, --polygons writes the polygons")
        os.makedirs(os.path.dirname(paths["mask"]), exist_ok=True)
        found = predict_scene(self.model, scene, paths, MARK[1], lambda share: self.progress(scene.path, share))
        shares = (found.counts / max(found.counts.sum(), 1)).round(6).tolist()
        return Prediction(
            scene.path,
            mask=paths["mask"],
            polygons=paths.get("polygons", ""),
            height=scene.height,
            width=scene.width,
            class_shares=dict(zip(self.model.label_map.names, shares, strict=False)),
            confidence=round(found.confidence, 6),
        )

    def _predict_volume(self, path: str, result: str) -> Prediction:
        paths = self.output.paths(result, {"mask": mask_extension(path)})
        if self.annotations.are_wanted:
            raise BadImageError("--write is for images; of a volume, the mask is written")
        found = predict_volume(self.model, path, paths["mask"], lambda share: self.progress(path, share))
        shape = list(found.class_ids.shape)
        shares = self._shares(found.class_ids, [slice(index, index + 1) for index in range(shape[0])])
        measures, reason = self._measured(path, found)
        return Prediction(
            path,
            mask=paths["mask"],
            shape=shape,
            class_shares=shares,
            confidence=round(found.confidence, 6),
            measures=measures,
            measures_error=reason,
        )

    def _predict_video(self, path: str, result: str) -> Prediction:
        (overlay,) = self.output.paths(result, {"overlay": ".mp4"}).values()
        if self.annotations.are_wanted:
            raise BadImageError("--write is for images; of a video, --frames writes the masks")

        def mask_path(number: int) -> str:
            name = self.output.record_name(f"{result}_{number:06d}")
            return self.output.paths(name, {"mask": ".png"})["mask"]

        os.makedirs(os.path.dirname(overlay), exist_ok=True)
        found = predict_video(
            self.model,
            path,
            overlay,
            mask_path if self.frames else None,
            self.max_pixels,
            lambda text, share: self.progress(f"{path}, {text}", share),
        )
        if found.error:
            whole = f"{found.frames} frames are in {overlay}; of what follows, {found.error}"
            return Prediction(path, whole, overlay=overlay, frames=found.frames)
        shares = (found.counts / found.counts.sum()).round(6).tolist()
        return Prediction(
            path,
            overlay=overlay,
            frames=found.frames,
            height=found.height,
            width=found.width,
            class_shares=dict(zip(self.model.label_map.names, shares, strict=True)),
            confidence=round(found.confidence, 6),
        )

    def _measured(self, path: str, found: SegmentedVolume) -> tuple[Measures | None, str]:
        """The measures of a volume that has a mask, or why there are none."""
        mask = self.references.masks.get(path)
        if not mask:
            return None, ""
        try:
            return measure_file(found, mask, self.model.label_map.names, self.references.values), ""
        except Exception as error:  # As for predictions, the others go on.
            return None, _reason(error)

    def _shares(self, class_ids: np.ndarray, parts: Sequence[slice]) -> dict[str, float]:
        """The share of each class, counted in parts of the first axis."""
        counts = np.zeros(len(self.model.label_map), np.int64)
        for part in parts:
            counts += np.bincount(class_ids[part].ravel(), minlength=len(counts))
        return dict(zip(self.model.label_map.names, (counts / class_ids.size).round(6).tolist(), strict=True))


def _outcome(label: str, step: Callable[[], _T]) -> _T | Prediction:
    """What a step gives; if it fails, a prediction that says why."""
    try:
        return step()
    except UserError:
        raise
    except Exception as error:
        return Prediction(label, _reason(error))


def _reason(error: Exception) -> str:
    """Why an image could not be used, in one line."""
    if isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError)):
        return "there is not enough memory for an image of this size"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, (BadImageError, OSError, tf.errors.OpError)):
        return one_line(error)
    return f"{type(error).__name__}: {one_line(error)}"
