"""Stores scenes as labeling tools do, in the layouts that people have: a scene in, files and their meaning out."""

from __future__ import annotations

import base64
import dataclasses
import json
import pathlib
import unicodedata
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import yaml
from PIL import Image
from pycocotools import mask as coco_mask

from data.annotations.shapes import Polygon
from data.contract import IGNORE_LABEL
from data.formats.cityscapes.classes import LABELS
from data.formats.voc.classes import VOC_CLASSES
from data.label_map import distinct_colors
from tests.data.annotations.brushes import encode_brush
from tests.data.masks.encodings import saved
from tests.fuzz.scenes import Picture, Scene, Thing

WORDS = {"train": ("train", "training", "Train"), "eval": ("val", "valid", "Validation"), "test": ("test", "Test")}
BACKGROUND = "background"


@dataclasses.dataclass
class Written:
    """What was stored.

    Attributes:
      format: the name of its format.
      names: the name of each id in `ids`; that of 0 is "background", or "" if such pixels are ignored.
      known: the classes that the data set should have, without the background.
      ids: [height, width] by the path of each image.
      splits: by the path of each image, as far as they are stated.
      labels: paths of the files with labels.
    """

    format: str
    names: list[str]
    known: set[str]
    ids: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    splits: dict[str, str] = dataclasses.field(default_factory=dict)
    labels: list[str] = dataclasses.field(default_factory=list)


class Store:
    """Takes the files of a data set."""

    def __init__(self, scene: Scene, rng: np.random.Generator, folder: pathlib.Path, format_: str):
        self.scene, self.rng, self.folder = scene, rng, folder
        self.written = Written(format_, [BACKGROUND, *scene.names], set(scene.names))
        spelling = rng.integers(3)
        self.words = {"": ""} | {split: words[min(spelling, len(words) - 1)] for split, words in WORDS.items()}

    def is_so(self, share: float = 0.5) -> bool:
        return bool(self.rng.random() < share)

    def any_of(self, *values: Any) -> Any:
        return values[self.rng.integers(len(values))]

    def image(self, picture: Picture, folder: str, ids: np.ndarray) -> str:
        """Stores an image, and what its pixels are; its path."""
        path = f"{folder}/{picture.file}".lstrip("/")
        if self.is_so(0.1):
            path = unicodedata.normalize("NFD", path)  # As macOS does.
        self.file(path, picture.content)
        self.written.ids[path] = ids
        if picture.split:
            self.written.splits[path] = picture.split
        return path

    def labels(self, path: str, content: bytes | str) -> None:
        self.file(path, content.encode() if isinstance(content, str) else content)
        self.written.labels.append(path)

    def file(self, path: str, content: bytes) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_bytes(content)

    def json(self, value: Any) -> bytes:
        """JSON as any program may write it."""
        bom = b"\xef\xbb\xbf" if self.is_so(0.2) else b""
        indent, is_ascii = self.any_of(None, None, 1, "\t"), self.is_so()
        return bom + json.dumps(self.shuffled(value), indent=indent, ensure_ascii=is_ascii).encode()

    def shuffled(self, value: Any) -> Any:
        """The same with the keys of all objects in any order."""
        if isinstance(value, dict):
            keys = list(value)
            return {keys[place]: self.shuffled(value[keys[place]]) for place in self.rng.permutation(len(keys))}
        return [self.shuffled(one) for one in value] if isinstance(value, list) else value

    def text(self, lines: Sequence[str]) -> str:
        """Lines as any system ends them."""
        return "".join(line + self.end for line in lines).removesuffix(self.any_of(self.end, ""))

    @property
    def end(self) -> str:
        return "\r\n" if self.is_so(0.3) else "\n"

    def by_split(self, is_one: bool) -> dict[str, list[Picture]]:
        """The images of each split; all of them together by an empty string if that is wanted."""
        found: dict[str, list[Picture]] = {}
        for picture in self.scene.pictures:
            found.setdefault("" if is_one else picture.split, []).append(picture)
        return found

    def color_of(self, value: int) -> tuple[int, int, int]:
        return distinct_colors(256)[value]


def by_size(things: Sequence[Thing], areas: Sequence[float]) -> list[Thing]:
    """Larger ones first."""
    return [things[place] for place in sorted(range(len(things)), key=lambda place: -areas[place])]


def rle(mask: np.ndarray, is_compressed: bool) -> dict[str, Any]:
    """COCO's run lengths."""
    if is_compressed:
        packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        return {"size": packed["size"], "counts": packed["counts"].decode()}
    flat = mask.ravel(order="F")
    borders = np.flatnonzero(np.diff(flat.astype(np.int8), prepend=0))
    return {"size": list(mask.shape), "counts": np.diff([0, *borders, flat.size]).tolist()}


def write_coco(scene: Scene, rng: np.random.Generator, folder: pathlib.Path) -> Written:
    store = Store(scene, rng, folder, "coco")
    layout = store.any_of("annotations", "roboflow", "one") if scene.has_splits else "one"
    numbers = rng.permutation(1000)
    names = [scene.names[place] for place in rng.permutation(len(scene.names))]
    start = {name: int(number) for name, number in zip(names, np.sort(numbers[: len(names)]), strict=True)}
    images_in = store.any_of("images", "photos [1]", "")
    for split, pictures in store.by_split(layout == "one").items():
        word = store.words[split]
        # Files of several splits may count anew.
        ids = dict(zip(names, map(int, rng.permutation(99)), strict=False)) if store.is_so() else start
        if layout == "roboflow":
            path, above = f"{word}/_annotations.coco.json", word
        elif layout == "annotations":
            subset = store.any_of(word, f"{word}2017", f"{word}_2017")
            path = f"annotations/instances_{subset}.json"
            above = store.any_of(subset, f"images/{subset}")
        else:
            path, above = store.any_of("annotations/instances_default.json", "labels.json", "a b.json"), images_in
        images, annotations = [], []
        for number, picture in enumerate(pictures):
            inside = above
            if layout == "one" and scene.has_splits:
                inside = f"{above}/{store.words[picture.split]}".lstrip("/")
            crowds = [thing for thing in picture.things if not thing.rings and store.is_so(0.2)]
            things = [thing for thing in picture.things if not any(thing is crowd for crowd in crowds)]
            how = store.any_of("pixels", "none", "made up")
            areas = [float(thing.mask.sum()) for thing in things]
            if how == "made up":
                areas = (1 + rng.permutation(len(things))).astype(float).tolist()
            # An area that is 0 is none, and then all count by their pixels.
            order = by_size(things, areas)
            stored = store.image(picture, inside, scene.painted(picture, order, crowds))
            name = stored if layout == "one" else f"{inside}/{picture.file}"[len(inside) + 1 :]
            forms = [name, f"./{name}", stored, f"/home/me/{stored}"]
            image_id = int(numbers[500 + number])
            size = {"height": picture.height, "width": picture.width}
            entry = {"id": image_id, "file_name": store.any_of(*forms), **size}
            # Without a size it is doubtful what is beyond the border.
            if store.is_so(0.1) and all(thing.is_inside(picture.height, picture.width) for thing in things):
                del entry["height"], entry["width"]
            images.append(entry)
            for thing, area in [*zip(things, areas, strict=True), *((crowd, 1.0) for crowd in crowds)]:
                segmentation: Any = rle(thing.mask, store.is_so())
                if thing.rings and store.is_so(0.7):
                    segmentation = thing.rings
                annotation = {
                    "id": len(annotations) + 1, "image_id": image_id, "category_id": ids[thing.name],
                    "segmentation": segmentation, "iscrowd": 0, "bbox": [0, 0, 1, 1], "area": area,
                    "attributes": {"occluded": False},
                }  # fmt: skip
                if how == "none":
                    del annotation["area"]
                if any(thing is crowd for crowd in crowds):
                    annotation["iscrowd"] = 1
                elif store.is_so(0.2):
                    del annotation["iscrowd"]
                annotations.append(annotation)
        categories = [{"id": id_, "name": name, "supercategory": store.any_of("", "x")} for name, id_ in ids.items()]
        content = {
            "info": {"year": 2024, "version": "1", "description": "[{}]"}, "licenses": [], "images": images,
            "annotations": annotations, "categories": categories,
        }  # fmt: skip
        if store.is_so(0.3):
            del content["info"], content["licenses"]
        store.labels(path, store.json(content))
    return store.written


def write_yolo(scene: Scene, rng: np.random.Generator, folder: pathlib.Path) -> Written:
    store = Store(scene, rng, folder, "yolo")
    layout = store.any_of("kind first", "split first", "lists") if scene.has_splits else store.any_of("kind", "beside")
    if layout == "lists" and scene.repeats:
        layout = "kind first"
    lists: dict[str, list[str]] = {}
    for picture in scene.pictures:
        word = store.words[picture.split]
        inside, labels = {
            "kind first": (f"images/{word}", f"labels/{word}"),
            "split first": (f"{word}/images", f"{word}/labels"),
            "beside": ("", ""),
        }.get(layout, ("images", "labels"))
        lines, areas, things = [], [], []
        for thing in picture.things:
            for ring in thing.rings:
                x, y = np.array(ring[::2]).clip(0, picture.width), np.array(ring[1::2]).clip(0, picture.height)
                mask = Polygon([np.stack([x, y], 1).ravel().tolist()]).mask(picture.height, picture.width)
                shares = np.stack([x / picture.width, y / picture.height], 1).ravel().tolist()
                number = scene.names.index(thing.name)
                lines.append(" ".join([str(number), *(store.any_of(repr, "{:.12f}".format)(one) for one in shares)]))
                areas.append(int(mask.sum()))
                things.append(Thing(thing.name, [ring], mask))
        path = store.image(picture, inside, scene.painted(picture, by_size(things, areas)))
        lists.setdefault(picture.split, []).append(path)
        if lines or layout == "beside" or store.is_so():
            # Labels are found by the name that the image's file has.
            stem = path.rpartition(".")[0]
            store.labels(f"{labels}/{stem[len(inside) + 1 :] if inside else stem}.txt".lstrip("/"), store.text(lines))
    if not scene.has_splits and store.is_so() and all(name.strip("#") == name for name in scene.names):
        store.labels("classes.txt", store.text(scene.names))
        return store.written
    content: dict[str, Any] = {"names": store.any_of(scene.names, dict(enumerate(scene.names)))}
    if store.is_so():
        content["nc"] = len(scene.names)
    for split, paths in lists.items():
        word = store.words[split]
        key = {"eval": store.any_of("val", "val")}.get(split, split)
        if layout == "lists":
            store.file(f"{word}.txt", store.text([f"{store.any_of('./', '')}{path}" for path in paths]).encode())
            content[key] = f"{word}.txt"
        elif scene.has_splits:
            place = f"images/{word}" if layout == "kind first" else f"{word}/images"
            content[key] = store.any_of(place, f"{place}/", f"../{place}" if layout == "split first" else place)
    if store.is_so(0.3):
        content["path"] = store.any_of("/home/me/set", "../datasets/set", ".")
    name = store.any_of("data.yaml", "dataset.yml", "my set.yaml")
    store.labels(name, yaml.safe_dump(content, sort_keys=False, allow_unicode=store.is_so()))
    return store.written


def write_labelme(scene: Scene, rng: np.random.Generator, folder: pathlib.Path) -> Written:
    store = Store(scene, rng, folder, "labelme")
    is_beside = scene.repeats or store.is_so()
    store.written.known = set()
    for picture in scene.pictures:
        shapes: list[dict[str, Any]] = []
        for number, thing in enumerate(picture.things):
            store.written.known.add(thing.name)
            label = store.any_of(thing.name, f" {thing.name} ")
            common = {"label": label, "flags": {}, "group_id": None, "description": "", "mask": None}
            for ring in thing.rings:
                corners = [list(pair) for pair in zip(ring[::2], ring[1::2], strict=True)]
                shape = {**common, "shape_type": "polygon", "points": corners}
                if len(thing.rings) > 1:
                    shape["group_id"] = number
                if thing.is_rectangle and store.is_so():
                    shape |= {"shape_type": "rectangle", "points": [corners[0], corners[2]]}
                shapes.append(shape)
            if not thing.rings:
                rows, columns = np.flatnonzero(thing.mask.any(1)), np.flatnonzero(thing.mask.any(0))
                top, bottom, left, right = map(int, (rows[0], rows[-1], columns[0], columns[-1]))
                stored = saved(Image.fromarray(thing.mask[top : bottom + 1, left : right + 1]), "PNG")
                text = base64.b64encode(stored).decode()
                points = [[left, top], [right, bottom]]
                shapes.append({**common, "shape_type": "mask", "points": points, "mask": text})
        inside = "/".join(filter(None, ("photos", store.words[picture.split])))
        path = store.image(picture, inside, scene.painted(picture, picture.things))
        labels, image = f"{path.rpartition('.')[0]}.json", path.rpartition("/")[2]
        if not is_beside:
            labels = f"json/{store.words[picture.split]}/{picture.name}.json".replace("//", "/")
            image = store.any_of("", "C:\\me\\").replace("\\", "/") + path
        content = {
            "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": image.replace("/", store.any_of("/", "\\")),
            "imageData": None, "imageHeight": picture.height, "imageWidth": picture.width,
        }  # fmt: skip
        store.labels(labels, store.json(content))
    if store.is_so():
        store.written.known = set(scene.names)
        store.file("labels.txt", store.text(["__ignore__", "_background_", *scene.names]).encode())
    return store.written


def _points(ring: Sequence[float], form: Callable[[float], str]) -> str:
    return ";".join(f"{form(x)},{form(y)}" for x, y in zip(ring[::2], ring[1::2], strict=True))


def write_cvat(scene: Scene, rng: np.random.Generator, folder: pathlib.Path) -> Written:
    store = Store(scene, rng, folder, "cvat")
    is_project = not scene.has_splits or store.is_so()
    for split, pictures in store.by_split(is_project).items():
        lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "<version>1.1</version>", "<meta><task>"]
        for name in scene.names:
            named = f"<name>{quoteattr(name, {chr(34): '&quot;'})[1:-1]}</name>"
            lines.append(f"<labels><label>{named}<color>#fa3253</color><type>any</type></label></labels>")
        lines.append("</task></meta>")
        for number, picture in enumerate(pictures):
            word = store.words[picture.split]
            heights = rng.permutation(len(picture.things))
            shapes: list[tuple[int, list[str]]] = []
            for thing, height in zip(picture.things, heights, strict=True):
                common = f'label={quoteattr(thing.name)} source="manual" occluded="0" z_order="{height - 1}"'
                group = ' group_id="7"' if store.is_so(0.2) else ""
                found = [
                    f'<polygon {common}{group} points="{_points(ring, store.any_of(str, "{:.2f}".format))}"/>'
                    for ring in thing.rings
                ]
                if not thing.rings:
                    rows, columns = np.flatnonzero(thing.mask.any(1)), np.flatnonzero(thing.mask.any(0))
                    part = thing.mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
                    runs = ", ".join(map(str, rle(part.T, False)["counts"]))
                    box = f'left="{columns[0]}" top="{rows[0]}" width="{part.shape[1]}" height="{part.shape[0]}"'
                    found = [f'<mask {common}{group} rle="{runs}" {box}></mask>']
                shapes.append((int(height), found))
            order = [thing for _, thing in sorted(zip(heights, picture.things, strict=True), key=lambda pair: pair[0])]
            inside = "/".join(filter(None, ("images", word)))
            store.image(picture, inside, scene.painted(picture, order))
            name = f"{word}/{picture.file}".lstrip("/") if scene.repeats or store.is_so() else picture.file
            subset = f' subset="{word}"' if is_project and word else ""
            size = f'width="{picture.width}" height="{picture.height}"'
            lines.append(f'<image id="{number}" name={quoteattr(name)}{subset} {size}>')
            lines += [line for _, found in shapes for line in found]
            lines.append("</image>")
        lines.append("</annotations>")
        path = "annotations.xml" if is_project else f"{store.words[split]}.xml"
        store.labels(path, store.text(lines))
    return store.written


def write_label_studio(scene: Scene, rng: np.random.Generator, folder: pathlib.Path) -> Written:
    store = Store(scene, rng, folder, "label-studio")
    store.written.known = {thing.name for picture in scene.pictures for thing in picture.things}
    is_one = not scene.has_splits or store.is_so()
    number = 0
    for split, pictures in store.by_split(is_one).items():
        tasks = []
        for picture in pictures:
            number += 1
            results: list[dict[str, Any]] = []
            scale = np.array([picture.width, picture.height])
            size = {"original_width": picture.width, "original_height": picture.height, "image_rotation": 0}
            for thing in picture.things:
                common = {"from_name": "label", "to_name": "image", **size}
                for ring in thing.rings:
                    corners = np.array(ring).reshape(-1, 2) * 100 / scale
                    value: dict[str, Any] = {"points": corners.tolist(), "closed": True}
                    if thing.is_rectangle and store.is_so():
                        (left, top), (right, bottom) = corners.min(0).tolist(), corners.max(0).tolist()
                        value = {"x": left, "y": top, "width": right - left, "height": bottom - top, "rotation": 0}
                    kind = "polygonlabels" if "points" in value else "rectanglelabels"
                    results.append({**common, "type": kind, "value": {**value, kind: [thing.name]}})
                if not thing.rings:
                    value = {"format": "rle", "rle": encode_brush(thing.mask), "brushlabels": [thing.name]}
                    results.append({**common, "type": "brushlabels", "value": value})
            for place, result in enumerate(results):
                result["id"] = f"r{place}"
            word = store.words[picture.split]
            path = store.image(picture, f"photos/{word}".rstrip("/"), scene.painted(picture, picture.things))
            path = unicodedata.normalize("NFC", path)
            url = urllib.parse.quote(path)
            reference = store.any_of(f"/data/local-files/?d={url}", f"s3://bucket/a/{url}", f"http://x.org/{url}?t=1")
            annotation = {"id": number, "completed_by": 1, "was_cancelled": False, "result": results}
            older = {"id": 1000 + number, "result": [], "created_at": "2020-01-01T00:00:00Z"}
            annotation["created_at"] = "2024-05-01T00:00:00.5Z"
            annotations = [older, annotation][-1 - store.is_so(0.3) :]
            tasks.append({"id": number, "data": {"image": reference}, "annotations": annotations, "predictions": []})
        path = "tasks.json" if is_one else f"{store.words[split]}.json"
        store.labels(path, store.json(tasks))
    if store.is_so():
        store.written.known = set(scene.names)
        labels = "".join(f"<Label value={quoteattr(name)}/>" for name in scene.names)
        tag = '<BrushLabels name="label" toName="image">'
        store.file("c.xml", f'<View><Image name="image" value="$image"/>{tag}{labels}</BrushLabels></View>'.encode())
    return store.written


def _png(values: np.ndarray, palette: Sequence[Sequence[int]] | None = None) -> bytes:
    image = Image.fromarray(values.astype(np.uint8))
    if palette is not None:
        image.putpalette(np.array(palette, np.uint8).ravel().tolist())
    return saved(image, "PNG")


def write_voc(scene: Scene, rng: np.random.Generator, folder: pathlib.Path) -> Written:
    store = Store(scene, rng, folder, "voc")
    is_named = store.is_so()
    base = store.any_of("", "VOCdevkit/VOC2012")
    values = list(range(len(scene.names) + 1))
    if is_named:
        store.file(f"{base}/class_names.txt".lstrip("/"), store.text(["_background_", *scene.names]).encode())
    else:
        values = [0, *(1 + rng.permutation(20)[: len(scene.names)]).tolist()]
        store.written.names = [BACKGROUND, *(VOC_CLASSES[value].name for value in values[1:])]
        store.written.known = {one.name for one in VOC_CLASSES[1:]}
    palette = [(one.color if one.color else (0, 0, 0)) for one in VOC_CLASSES]
    lists: dict[str, list[str]] = {}
    for number, picture in enumerate(scene.pictures):
        picture = dataclasses.replace(picture, name=f"20{number:02d}_{rng.integers(10**6):06d}")
        ids = scene.painted(picture, picture.things)
        ids[rng.random(ids.shape) < 0.05] = IGNORE_LABEL
        ids[0, 0] = 1  # Masks of nothing but 0 and 255 may mean something else.
        store.image(picture, f"{base}/JPEGImages".lstrip("/"), ids)
        stored = np.array([*values, *[255] * (256 - len(values))])[ids]
        mask = _png(stored, None if is_named or store.is_so() else [*palette, *[(1, 1, 1)] * 234, (224, 224, 192)])
        store.labels(f"{base}/SegmentationClass/{picture.name}.png".lstrip("/"), mask)
        lists.setdefault(picture.split, []).append(picture.name)
    for split, names in lists.items():
        if split:
            word = {"train": "train", "eval": "val", "test": "test"}[split]
            store.labels(f"{base}/ImageSets/Segmentation/{word}.txt".lstrip("/"), store.text(names))
    return store.written


def write_cityscapes(scene: Scene, rng: np.random.Generator, folder: pathlib.Path) -> Written:
    store = Store(scene, rng, folder, "cityscapes")
    trained = [label for label in LABELS if not label.ignore_in_eval and label.id >= 0]
    chosen = [trained[place] for place in rng.permutation(len(trained))[: len(scene.names)]]
    store.written.names = ["", *(label.name for label in chosen)]
    store.written.known = {label.name for label in trained}
    values = np.array([0, *(label.id for label in chosen), *[0] * (255 - len(chosen))])
    for number, picture in enumerate(scene.pictures):
        word = {"train": "train", "eval": "val", "test": "test", "": ""}[picture.split]
        # A city is a group, which must not be in two splits.
        scene_name = f"{'abcdef'[number]}stadt_{number:06d}_{rng.integers(100):06d}"
        part = "/".join(filter(None, (word, scene_name.partition("_")[0])))
        picture = dataclasses.replace(picture, name=f"{scene_name}_leftImg8bit")
        ids = scene.painted(picture, picture.things)
        ids[0, 0] = 1  # Of what is unlabeled as a whole nobody knows what it is.
        store.image(picture, f"leftImg8bit/{part}", ids)
        store.labels(f"gtFine/{part}/{scene_name}_gtFine_labelIds.png", _png(values[ids]))
    return store.written


def write_ade20k(scene: Scene, rng: np.random.Generator, folder: pathlib.Path) -> Written:
    store = Store(scene, rng, folder, "ade20k")
    store.written.names[0] = ""
    lines = ["Idx\tRatio\tTrain\tVal\tStuff\tName"]
    places = sorted(map(int, 1 + rng.permutation(150)[: len(scene.names)]))
    names = {place: f"thing {place}, other name" for place in range(1, 151)}
    names |= dict(zip(places, scene.names, strict=True))
    lines += [f"{place}\t0.1\t10\t10\t1\t{name}" for place, name in names.items()]
    base = store.any_of("", "ADEChallengeData2016/")
    store.file(f"{base}objectInfo150.txt", store.text(lines).encode())
    store.written.known = {name.partition(",")[0].strip() for name in names.values()}
    store.written.names[1:] = [name.partition(",")[0].strip() for name in scene.names]
    values = np.array([0, *places, *[0] * (255 - len(places))])
    for number, picture in enumerate(scene.pictures):
        part = "validation" if number % 3 == 1 else "training"
        # What is for training is divided.
        picture = dataclasses.replace(picture, name=f"ADE_{number:08d}", split="eval" if number % 3 == 1 else "")
        ids = scene.painted(picture, picture.things)
        path = store.image(picture, f"{base}images/{part}", ids)
        store.labels(path.replace("images", "annotations").rpartition(".")[0] + ".png", _png(values[ids]))
    return store.written


def write_panoptic(scene: Scene, rng: np.random.Generator, folder: pathlib.Path) -> Written:
    store = Store(scene, rng, folder, "coco-panoptic")
    store.written.names[0] = ""
    names = [*scene.names, "another"]
    store.written.known = set(names)
    numbers = {name: int(number) for name, number in zip(names, rng.permutation(500), strict=False)}
    for split, pictures in store.by_split(not scene.has_splits).items():
        subset = f"{store.words[split]}2017" if split else "all"
        file = f"annotations/panoptic_{subset}"
        images, annotations = [], []
        for number, picture in enumerate(pictures):
            segments: dict[int, Thing] = {}
            pixels = np.zeros((picture.height, picture.width), np.int64)
            for thing in picture.things:
                key = int(rng.integers(1, 256**3))
                segments[key] = thing
                pixels[thing.mask] = key
            crowds = {key for key in segments if store.is_so(0.1)}
            ids = scene.painted(picture, picture.things)
            ids[np.isin(pixels, list(crowds))] = IGNORE_LABEL
            path = store.image(picture, subset if split else "images", ids)
            png = f"{number:06d}.png"
            stored = np.stack([pixels % 256, pixels // 256 % 256, pixels // 256**2], 2)
            store.labels(f"{file}/{png}", _png(stored))
            images.append({"id": number * 7 + 3, "file_name": unicodedata.normalize("NFC", path).partition("/")[2]})
            info = [
                {"id": key, "category_id": numbers[thing.name], "iscrowd": int(key in crowds), "area": 1}
                for key, thing in segments.items()
                if (pixels == key).any() or store.is_so()
            ]
            annotations.append({"image_id": number * 7 + 3, "file_name": png, "segments_info": info})
        categories = [{"id": id_, "name": name, "isthing": 1} for name, id_ in numbers.items()]
        content = {"images": images, "annotations": annotations, "categories": categories}
        store.labels(f"{file}.json", store.json(content))
    return store.written


def write_mask_folder(scene: Scene, rng: np.random.Generator, folder: pathlib.Path) -> Written:
    store = Store(scene, rng, folder, "mask-folder")
    names = [BACKGROUND, *scene.names]
    store.file("classes.json", json.dumps([{"id": id_, "name": name} for id_, name in enumerate(names)]).encode())
    is_split_first = store.is_so()
    for picture in scene.pictures:
        word = store.words[picture.split]
        images, masks = ("images", "masks")
        if word:
            images, masks = [f"{word}/{kind}" if is_split_first else f"{kind}/{word}" for kind in (images, masks)]
        ids = scene.painted(picture, picture.things)
        path = store.image(picture, images, ids)
        store.labels(f"{masks}/{path[len(images) + 1 :].rpartition('.')[0]}.png", _png(ids))
    return store.written


def write_object_masks(scene: Scene, rng: np.random.Generator, folder: pathlib.Path) -> Written:
    store = Store(scene, rng, folder, "object-masks")
    store.written.names, store.written.known = [BACKGROUND, "object"], {"object"}
    is_split_first, has_folder_each = store.is_so(), store.is_so() and not scene.repeats
    white = store.any_of(1, 255)
    for number, picture in enumerate(scene.pictures):
        word = store.words[picture.split]
        ids = np.minimum(scene.painted(picture, picture.things), 1)
        if has_folder_each:
            above = "/".join(filter(None, (word, picture.name)))
            path = store.image(picture, f"{above}/images", ids)
            masks = f"{above}/masks"
        else:
            images, masks = [
                "/".join(filter(None, (word, kind) if is_split_first else (kind, word))) for kind in ("images", "masks")
            ]
            path = store.image(picture, images, ids)
            masks = f"{masks}/{path[len(images) + 1 :].rpartition('.')[0]}"
        # A mask alone in the folder of its image may be one of classes.
        black = [np.zeros_like(ids, bool)] if number == 0 or not picture.things else []
        for index, is_object in enumerate([*(thing.mask for thing in picture.things), *black]):
            way = store.any_of("8 bits", "1 bit", "RGB")
            pixels = is_object if way == "1 bit" else is_object.astype(np.uint8) * white
            image = Image.fromarray(pixels)
            store.labels(f"{masks}/_{index:03}.png", saved(image.convert("RGB") if way == "RGB" else image, "PNG"))
    return store.written


WRITE = {
    "coco": write_coco,
    "yolo": write_yolo,
    "labelme": write_labelme,
    "cvat": write_cvat,
    "label-studio": write_label_studio,
    "voc": write_voc,
    "cityscapes": write_cityscapes,
    "ade20k": write_ade20k,
    "coco-panoptic": write_panoptic,
    "object-masks": write_object_masks,
    "mask-folder": write_mask_folder,
}
