"""Satellite and aerial scenes: GeoTIFFs of any size, cut into windows, with rasters or polygons as masks."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pydantic

from data.base.errors import UserError
from data.base.files import join
from data.contract import IGNORE_LABEL
from data.decoding.arrays import no_data, note_bands
from data.decoding.errors import BadImageError, why_unusable
from data.decoding.images import encoded_values
from data.formats.base.paired import PairOptions
from data.formats.base.reader import (
    MAX_PIXELS,
    LabeledImage,
    Listing,
    PixelLimit,
    Reader,
    Recognition,
    SetAside,
    Source,
)
from data.formats.geotiff import polygons
from data.formats.geotiff.ground import BLOCKS, NORTH_SOUTH, WEST_EAST, Box, common_crs, divided, place, shared_ground
from data.formats.geotiff.masks import ids_of_mask, opened_mask, read_values
from data.formats.geotiff.recognition import recognize_scenes
from data.formats.geotiff.scene import (
    Scene,
    UnreadableError,
    differing_bands,
    look_at_scene,
    opened,
    read_header,
    read_window,
)
from data.formats.geotiff.windows import REPORT_KEY, Window, strips, windows
from data.listing.dealing import Dealt, shares_that_work, stated_splits, working_split
from data.listing.finding import find_pairs
from data.listing.items import Items, find_items, image_extension
from data.listing.pairing import without_repetitions
from data.listing.split_folders import placing
from data.masks.files import Mask
from data.masks.meaning import MaskOptions
from data.splits import DEFAULT_SHARES, Shares, share_text

# By default a block has so many windows in a row.
_WINDOWS_OF_BLOCK = 4
_BETWEEN = "it lies across a border between splits, or in the gap along one"
_NOTHING_LABELED = "no pixel of it is labeled"
_LOG = logging.getLogger("segpipe.geotiff")


class GeotiffReader(PairOptions, MaskOptions, Reader):
    """Satellite and aerial scenes: folders images/ and masks/ with GeoTIFFs of any size and number of bands.

    Each scene is cut into windows; those at its last row and column are shifted inside, and a smaller scene is one. A
    mask is a raster on the grid of its scene, or a vector file (GeoJSON, GeoPackage, shapefile) of the same name, whose
    polygons are burnt in; or --masks names one vector file for all scenes. Pixels without data in the scene (by the
    file's nodata value, alpha band or mask) or in the mask are ignored, and windows without a labeled pixel left out.

    Windows of different splits never lie on the same ground, nor next to each other, whatever the dates of their
    scenes: the ground is divided, and a window that lies across a border or in the gap is left out. Scenes in folders
    train, val and test stay in these.

    Attributes:
      masks: folder with the masks, likewise; or a vector file below SOURCE.
      transparent: the class of pixels where a mask has no data, as its nodata value, alpha band or mask says, such as
        background where that value is 0; by default they are ignored.
      attribute: of polygons, the one that holds the name of their class, or a value of --labels; without it all are of
        the second of two classes. Later polygons lie over earlier ones. Pixels of no polygon are of the class
        background if there is one, and else ignored.
      warp: warp masks that have another CRS, resolution or extent than their scene, by nearest neighbor.
      window: pixels of a window in each direction.
      overlap: pixels of a window that the next one has, too.
      split_by: how ground is divided. "blocks" deals square blocks by a hash of their coordinates; "west-east" and
        "north-south" cut all of it in the order of --split, as in test=0.2,train=0.8 for a test in the west; a vector
        file has polygons with an attribute split.
      split: share of each split, such as train=0.8,eval=0.1,test=0.1, which is the default.
      block: pixels of a block in each direction; by default four windows. Blocks lie on multiples of this from the
        origin of the CRS, so that a place stays in its split when scenes are added, as long as the first scene by name
        has the same CRS and pixel size.
      gap: pixels between windows of different splits; by default one window. It is taken from train.
      nodata: the value that stands for no data in all scenes; by default what each file says.
      max_pixels: scenes that are stored in larger blocks are set aside, as each has to be decoded at once.
    """

    looks_for: ClassVar[str] = (
        "folders images/ and masks/, whatever they are called, with GeoTIFFs that have a CRS in the one, and rasters, "
        "GeoJSON, GeoPackage or shapefiles of the same names in the other"
    )
    on_missing_class: ClassVar[str] = (
        "if it should be there, look at the nodata value of the masks (`rio info MASK --nodata`), whose pixels are "
        "ignored unless --transparent names their class; and say in a labels.yaml, with value:, which values of the "
        "masks are which class"
    )
    on_ignored: ClassVar[str] = (
        "pixels without data in the scene or its mask are ignored (`rio info MASK --nodata` shows the mask's value for "
        "that) unless --transparent names their class; so is 255, unless it is a class's, by value: in a labels.yaml"
    )

    attribute: str = ""
    warp: bool = False
    window: int = pydantic.Field(256, ge=8, le=8192, title="PIXELS")
    overlap: int = pydantic.Field(0, ge=0, title="PIXELS")
    split_by: str = pydantic.Field(BLOCKS, title=f"{BLOCKS}|{WEST_EAST}|{NORTH_SOUTH}|FILE")
    split: Shares | None = pydantic.Field(None, title="SHARES")
    block: int | None = pydantic.Field(None, ge=8, title="PIXELS")
    gap: int | None = pydantic.Field(None, ge=0, title="PIXELS")
    nodata: float | None = pydantic.Field(None, title="VALUE")
    max_pixels: PixelLimit = MAX_PIXELS

    @pydantic.model_validator(mode="after")
    def _check_windows(self) -> GeotiffReader:
        if self.overlap >= self.window:
            raise ValueError(f"--overlap {self.overlap} has to be smaller than --window {self.window}")
        if self.block is not None and (self.split_by != BLOCKS or self.block < self.window):
            raise ValueError(f"--block is for --split-by blocks, and not smaller than --window {self.window}")
        if self.split_by not in (BLOCKS, WEST_EAST, NORTH_SOUTH) and not polygons.is_vector(self.split_by):
            raise ValueError(
                f"--split-by {self.split_by}: takes {BLOCKS}, {WEST_EAST}, {NORTH_SOUTH}, or a GeoJSON, GeoPackage or "
                "shapefile"
            )
        return self

    @classmethod
    def recognize(cls, folder: str, files: list[str]) -> Recognition | None:
        return recognize_scenes(folder, files, cls.model_fields["window"].default)

    def listing(self) -> Listing:
        found = self._find()
        stay = stated_splits({name: image for name, image, _ in found.pairs}, self.split)
        scenes, boxes, crs, unusable = self._placed(found)
        masks = {name: mask for name, _, mask in found.pairs}
        set_aside, ignored = [*found.set_aside, *unusable], [*found.ignored]
        nowhere = [scene.path for scene in scenes.values() if not scene.crs]
        if nowhere:
            _LOG.warning(
                "%d of %d scenes, such as %s, have no CRS: they are read as plain pixels, and each as a ground of its "
                "own",
                *(len(nowhere), len(scenes), nowhere[0]),
            )
        if stay and (found_twice := shared_ground(boxes, stay)):
            one, two = found_twice.names
            _LOG.warning(
                "%s (%s) and %s (%s) share %.0f%% of their ground, and %d of %d scenes share some with another split: "
                "what is measured there was learned from, unless only the dates are to differ; --split %s divides "
                "the ground instead of these folders",
                *(scenes[one].path, stay.get(one, "dealt"), scenes[two].path, stay.get(two, "dealt")),
                *(100 * found_twice.share, found_twice.count, len(scenes), share_text(DEFAULT_SHARES)),
            )
        gap = self.window if self.gap is None else self.gap
        ground, facts = divided(
            scenes, crs, self.split_by, self.split or DEFAULT_SHARES, self.block or _WINDOWS_OF_BLOCK * self.window
        )
        sources: list[Source] = []
        for name, scene in scenes.items():
            dealt = []
            for window in windows(scene.height, scene.width, self.window, self.overlap):
                split, part = stay.get(name, ""), ""
                if not split:
                    split, part = ground.split(place(name, scene, window, crs), window, gap)
                if split:
                    part = part if self.split_by == BLOCKS else ""
                    dealt.append((window, self._source(name, scene, masks[name], window, split, part)))
                else:
                    ignored.append(SetAside(_input(scene, window), _BETWEEN))
            try:
                is_labeled = self._are_labeled(scene, masks[name], [window for window, _ in dealt])
            except (BadImageError, OSError) as error:
                set_aside.append(SetAside(scene.path, why_unusable(error)))
                continue
            for (_, source), labeled in zip(dealt, is_labeled, strict=True):
                if labeled:
                    sources.append(source)
                else:
                    ignored.append(SetAside(source.image, _NOTHING_LABELED))
        grid = {"window": self.window, "overlap": self.overlap, "gap": gap}
        return Listing(sources, set_aside, ignored, found.remedy, {REPORT_KEY: {"count": len(scenes), **grid, **facts}})

    def _placed(self, found: _Found) -> tuple[dict[str, Scene], dict[str, Box], str, list[SetAside]]:
        """The scenes that can be used, where they are, the CRS that this is in, and what is set aside."""
        scenes: dict[str, Scene] = {}
        set_aside = []
        for name, image, _ in found.pairs:
            try:
                scenes[name] = look_at_scene(image, self.max_pixels)
            except (BadImageError, OSError) as error:
                set_aside.append(SetAside(image, why_unusable(error)))
        for name, reason in differing_bands(scenes).items():
            set_aside.append(SetAside(scenes.pop(name).path, reason))
        crs = common_crs(scenes.values())
        boxes = {}
        for name in list(scenes):
            try:
                boxes[name] = place(name, scenes[name], scenes[name].whole, crs)
            except BadImageError as error:
                set_aside.append(SetAside(scenes.pop(name).path, str(error)))
        return scenes, boxes, crs, set_aside

    def _find(self) -> _Found:
        """Names, scenes and masks; and what else is there."""
        if polygons.is_vector(self.masks):
            return self._find_around_one_file()
        found = find_pairs(self.folder, self.images, self.masks, self.naming, find_masks=_find_masks)
        stay = {image.name: placing(image.name).split for image, _ in found.pairs}
        pairs, same, other = without_repetitions(found.pairs, {name: split for name, split in stay.items() if split})
        is_error = self.unlabeled == "set-aside"
        set_aside = [*found.unusable, *other, *(found.unlabeled if is_error else [])]
        ignored = [*found.ignored, *same, *((path, "no mask") for path, _ in found.unlabeled if not is_error)]
        remedy = "--unlabeled ignore leaves out the scenes that have no mask" if found.unlabeled and is_error else ""
        return _Found(
            [(image.name, image.file.path, mask.file.path) for image, mask in pairs],
            [SetAside(*one) for one in set_aside],
            [SetAside(*one) for one in ignored],
            remedy,
        )

    def _find_around_one_file(self) -> _Found:
        path = join(self.folder, self.masks)
        if not os.path.isfile(path):
            raise UserError(f"--masks {self.masks}: {path} is not a file")
        found = find_items(join(self.folder, self.images), "")
        affixes = self.naming.images
        named = [(affixes.cut(item.name), item.file.path) for item in found.items if not item.file.missing]
        return _Found(
            [(name, image, path) for name, image in named if name],
            [SetAside(*one) for one in found.unusable],
            [SetAside(*one) for one in found.ignored if one[0] != path],
        )

    def _source(self, name: str, scene: Scene, mask: str, window: Window, split: str, part: str) -> Source:
        where = json.dumps([scene.path, window.row, window.column, window.height, window.width])
        return Source(
            f"{name}_{window.name}",
            split,
            _input(scene, window),
            mask,
            group=part,
            stated_split=placing(name).split,
            labels=where,
        )

    def _are_labeled(self, scene: Scene, mask: str, wanted: Sequence[Window]) -> list[bool]:
        """Whether any pixel of each window counts, as far as can be said; what is wrong with one shows when it is read.

        Raises:
          BadImageError: if the scene and its mask do not belong together, or one of them cannot be read.
        """
        nodata = self._nodata(scene)
        looks = nodata is not None or scene.has_mask or np.dtype(scene.dtype).kind == "f"
        found = []
        with self._labels(scene, mask) as ids_of, opened(scene.path) as raster:
            for window in wanted:
                try:
                    counts = ids_of(window) != IGNORE_LABEL
                except UnreadableError:
                    raise
                except BadImageError:
                    found.append(True)
                    continue
                if looks and counts.any():
                    values, hidden = read_window(raster, scene, window)
                    counts &= ~(hidden | no_data(values, nodata))
                found.append(bool(counts.any()))
        return found

    @contextlib.contextmanager
    def _labels(self, scene: Scene, mask: str) -> Iterator[Callable[[Window], np.ndarray]]:
        """What gives the class ids of each window of a scene, [height, width] uint8."""
        if polygons.is_vector(mask):
            placed, ids = polygons.ids_of_polygons(mask, self.attribute, scene, self.meaning)
            yield lambda window: polygons.burn(placed, ids, scene, window, self.meaning)
            return
        with opened_mask(scene, mask, self.warp) as read:
            yield lambda window: ids_of_mask(*read(window), self.meaning)

    def _nodata(self, scene: Scene) -> float | None:
        return scene.nodata if self.nodata is None else self.nodata

    def read_mask(self, path: str, max_pixels: int) -> Mask:
        return read_values(path, max_pixels)

    def read(self, source: Source) -> LabeledImage:
        path, *where = json.loads(source.labels)
        window = Window(*where)
        with opened(path) as raster:
            scene = read_header(raster, path)
            values, hidden = read_window(raster, scene, window)
        image = encoded_values(values, self._nodata(scene))
        if scene.names:
            note_bands(scene.names)
        with self._labels(scene, source.mask) as ids_of:
            ids = np.where(hidden, np.uint8(IGNORE_LABEL), ids_of(window))
        return LabeledImage(image, ids)

    def fill_splits(self, sources: list[Source]) -> str:
        """What to do if these examples leave a split empty; the end of a message."""
        also = "; or smaller ones for --window, --gap or, with much --overlap, --block"
        if self.split_by == BLOCKS:
            way = f"or --split-by {WEST_EAST}, which fills each strip{also}"
            return f"{shares_that_work(_dealt(sources), self.split)}; {way}" if sources else f"add scenes, {way}"
        if self.split_by in (WEST_EAST, NORTH_SOUTH):
            return f"no window and its gap fit into the strip; give it a larger share in --split{also}"
        return f"no window lies in an area of it, outside of the gap; draw larger ones in {self.split_by}{also}"

    def working_split(self, sources: list[Source]) -> dict[str, float]:
        """Shares for the option `split` with which these examples leave no split empty.

        Raises:
          ValueError: if there are too few blocks.
        """
        return working_split(_dealt(sources), self.split) if self.split_by == BLOCKS else {}

    def fillings(self, sources: list[Source]) -> Iterator[dict[str, Any]]:
        """Blocks with other shares; or strips, which need less ground, in smaller windows if need be."""
        yield from super().fillings(sources)
        if self.split_by != BLOCKS or self.block or any(source.stated_split for source in sources):
            return
        scenes, boxes, _, _ = self._placed(self._find())
        placed = [(scenes[name], box) for name, box in boxes.items() if not box.plane]
        if not placed:
            return
        first, box = placed[0]
        bounds = np.array([box.bounds for _, box in placed])
        width, height = (bounds[:, 2:].max(axis=0) - bounds[:, :2].min(axis=0)) / box.size
        lengths = {WEST_EAST: round(width * first.width), NORTH_SOUTH: round(height * first.height)}
        for split_by in sorted(lengths, key=lambda axis: -lengths[axis]):
            if found := strips(lengths[split_by], self.window):
                window, overlap, split = found
                options = {"window": window, "overlap": overlap, "gap": window - overlap}
                usual = {"window": self.window, "overlap": self.overlap, "gap": window}
                changed = {name: value for name, value in options.items() if value != usual[name]}
                yield {"split_by": split_by, **changed, "split": split}


class _Found:
    """What lies in the folders: `pairs` of a name, the path of a scene and that of its mask; and the rest."""

    def __init__(
        self,
        pairs: list[tuple[str, str, str]],
        set_aside: list[SetAside],
        ignored: list[SetAside],
        remedy: str = "",
    ):
        self.pairs, self.set_aside, self.ignored, self.remedy = pairs, set_aside, ignored, remedy


def _input(scene: Scene, window: Window) -> str:
    """What reports call a window."""
    return f"{scene.path}#{window.name}"


def _find_masks(folder: str, name: str, without: str) -> Items:
    """Rasters and vector files below a folder."""
    return find_items(folder, name, without, _mask_extension)


def _mask_extension(path: str) -> str | None:
    return os.path.splitext(path)[1] if polygons.is_vector(path) else image_extension(path)


def _dealt(sources: Sequence[Source]) -> dict[str, Dealt]:
    return {source.source_id: Dealt(source.group or source.source_id, source.stated_split) for source in sources}
