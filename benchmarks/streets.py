"""Streets drawn by code, in which poles, wires and lane markings are 1 to 3 pixels wide among large, textured regions.

What makes them hard is what makes photographs hard: buildings have lines too (window frames), trees have dark branches,
a pole may be almost as bright as what is behind it, and light, shadows, blur and noise differ from image to image. All
is drawn at three times its size and averaged, so that edges are mixtures. Busy streets have cars and people too, which
hide each other in part.

`python benchmarks/streets.py FOLDER` writes busy streets as images, masks and masks of objects.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import pathlib
import shutil

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

CLASSES = ("sky", "building", "tree", "road", "sidewalk", "pole", "sign", "wire", "marking")
THIN = ("pole", "wire", "marking")
THINGS = ("car", "person")
BUSY_CLASSES = (*CLASSES, *THINGS)
HEIGHT, WIDTH = 180, 240

_IDS = {name: index for index, name in enumerate(BUSY_CLASSES)}
_TIMES = 3  # Drawn so many times as large.
# A pixel belongs to a thin class from this share of its area on; with one half, a line 1 pixel wide would have gaps.
_THIN_SHARE = 0.4


def street(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One street: the image [180, 240, 3] and its class ids [180, 240], uint8; the same ones for the same seed."""
    scene, _ = _street(seed)
    return _photographed(scene), _labels(scene)[0]


def busy_street(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A street with cars and people: also the number of each pixel's object [180, 240] uint16, 0 for none."""
    scene, horizon = _street(seed)
    _draw_traffic(scene, horizon)
    return _photographed(scene), *_labels(scene)


def _street(seed: int) -> tuple[_Scene, float]:
    scene = _Scene.empty(seed)
    horizon = _draw_background(scene)
    _draw_ground(scene, horizon)
    _draw_trees(scene, horizon)
    _draw_poles_and_wires(scene, horizon)
    return scene, horizon


def save(folder: pathlib.Path, counts: dict[str, int], are_busy: bool = False) -> None:
    """Writes streets, each another one, as a folder that `segpipe convert --format mask-folder` reads.

    Args:
      folder: a new one.
      counts: how many streets each split has; a split has folders of images and masks, and busy streets of instances.
      are_busy: whether they have cars and people.
    """
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    draw = busy_street if are_busy else street
    kinds = ("images", "masks", "instances")[: 3 if are_busy else 2]
    first = 0
    for split, count in counts.items():
        places = [unfinished / split / kind for kind in kinds]
        for place in places:
            place.mkdir(parents=True)
        for index in range(count):
            for place, pixels in zip(places, draw(first + index), strict=True):
                Image.fromarray(pixels).save(place / f"{split}{index:04d}.png")
        first += count
    names = BUSY_CLASSES if are_busy else CLASSES
    (unfinished / "classes.txt").write_text("\n".join(names) + "\n")
    unfinished.rename(folder)


@dataclasses.dataclass
class _Scene:
    """What is drawn so far, at three times the size: colors [height, width, 3] in 0 … 255, class ids, and objects."""

    random: np.random.Generator
    colors: np.ndarray
    class_ids: np.ndarray
    numbers: np.ndarray

    @classmethod
    def empty(cls, seed: int) -> _Scene:
        size = (HEIGHT * _TIMES, WIDTH * _TIMES)
        return cls(
            np.random.default_rng(seed), np.zeros((*size, 3)), np.zeros(size, np.uint8), np.zeros(size, np.uint16)
        )

    @property
    def height(self) -> int:
        return self.class_ids.shape[0]

    @property
    def width(self) -> int:
        return self.class_ids.shape[1]

    def uniform(self, least: float, most: float) -> float:
        return float(self.random.uniform(least, most))

    def texture(self, *cells: float) -> np.ndarray:
        """Smooth noise [height, width] around 0, with a standard deviation of about 1: a sum over sizes in pixels."""
        total = np.zeros(self.class_ids.shape)
        for cell in cells:
            shape = tuple(max(2, round(length / (cell * _TIMES))) for length in self.class_ids.shape)
            grid = Image.fromarray(self.random.normal(size=shape).astype(np.float32))
            total += np.asarray(grid.resize((self.width, self.height), Image.Resampling.BICUBIC))
        return total / len(cells) ** 0.5

    def mask(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        """An empty mask and what draws on it."""
        image = Image.new("L", (self.width, self.height))
        return image, ImageDraw.Draw(image)

    def paint(self, mask: Image.Image | np.ndarray, name: str, color: np.ndarray, number: int = 0) -> None:
        """Gives the pixels of a mask a class, a color, [3] or [height, width, 3], and an object."""
        inside = np.asarray(mask) > 0
        self.colors[inside] = np.broadcast_to(color, self.colors.shape)[inside]
        self.class_ids[inside], self.numbers[inside] = _IDS[name], number

    def line(self, points: list[tuple[float, float]], pixels: float, name: str, color: np.ndarray) -> None:
        """A line so many pixels of the final image wide, through points of the large one."""
        mask, draw = self.mask()
        draw.line(points, fill=1, width=max(2, round(pixels * _TIMES)), joint="curve")
        self.paint(mask, name, color)


def _gray(scene: _Scene, least: float, most: float, tint: float = 12) -> np.ndarray:
    return scene.uniform(least, most) + scene.random.normal(0, tint, 3)


def _textured(scene: _Scene, color: np.ndarray, strength: float, *cells: float) -> np.ndarray:
    return color + strength * scene.texture(*cells)[..., np.newaxis]


def _draw_background(scene: _Scene) -> float:
    """Sky and buildings; returns the row where the ground begins."""
    rows = np.linspace(0, 1, scene.height)[:, np.newaxis, np.newaxis]
    blue = np.array([120, 165, 225]) + scene.random.normal(0, 15, 3)
    pale = np.array([205, 215, 225]) + scene.random.normal(0, 15, 3)
    clouds = 22 * scene.uniform(0, 1.5) * np.maximum(scene.texture(60, 25, 10), 0)[..., np.newaxis]
    scene.paint(np.ones(scene.class_ids.shape), "sky", blue * (1 - rows) + pale * rows + clouds)
    horizon = scene.height * scene.uniform(0.5, 0.66)
    left = -scene.uniform(0, 100)
    while left < scene.width:
        right = left + _TIMES * scene.uniform(25, 75)
        if scene.uniform(0, 1) < 0.75:
            _draw_building(scene, left, horizon - _TIMES * scene.uniform(15, 85), right, horizon + 4)
        left = right + _TIMES * max(0.0, scene.uniform(-20, 15))
    return horizon


def _draw_building(scene: _Scene, left: float, top: float, right: float, bottom: float) -> None:
    wall = np.array([150, 130, 115]) * scene.uniform(0.55, 1.35) + scene.random.normal(0, 14, 3)
    mask, draw = scene.mask()
    draw.rectangle((left, top, right, bottom), fill=1)
    scene.paint(mask, "building", _textured(scene, wall, scene.uniform(4, 14), 20, 5, 1.5))
    windows, on_windows = scene.mask()
    frames, on_frames = scene.mask()
    across, down = _TIMES * scene.uniform(6, 13), _TIMES * scene.uniform(8, 15)
    share_x, share_y = scene.uniform(0.35, 0.7), scene.uniform(0.4, 0.75)
    for x in np.arange(left + across * 0.3, right - across * share_x, across):
        for y in np.arange(top + down * 0.3, bottom - down * share_y, down):
            box = (x, y, x + across * share_x, y + down * share_y)
            on_windows.rectangle(box, fill=1)
            on_frames.line(((box[0] + box[2]) / 2, y, (box[0] + box[2]) / 2, box[3]), fill=1, width=_TIMES)
    scene.paint(windows, "building", _textured(scene, _gray(scene, 40, 130), 16, 8, 3))
    if scene.uniform(0, 1) < 0.6:
        scene.paint(frames, "building", _gray(scene, 60, 220))
    if scene.uniform(0, 1) < 0.5:  # A pipe or an edge on the wall, which looks like a pole.
        pipe, on_pipe = scene.mask()
        x = scene.uniform(left, right)
        on_pipe.line((x, top, x, bottom), fill=1, width=round(_TIMES * scene.uniform(1, 2.5)))
        scene.paint(pipe, "building", wall * scene.uniform(0.6, 1.3))


def _draw_ground(scene: _Scene, horizon: float) -> None:
    """The sidewalk, and on it the road with its markings, towards a point on the horizon."""
    ground, draw = scene.mask()
    draw.rectangle((0, horizon, scene.width, scene.height), fill=1)
    brightness = scene.uniform(75, 130)
    paving = np.full(3, brightness * scene.uniform(1.05, 1.45)) + scene.random.normal(0, 9, 3)
    scene.paint(ground, "sidewalk", _textured(scene, paving, scene.uniform(5, 12), 12, 3, 1))
    vanishing = scene.uniform(0.25, 0.75) * scene.width
    left, right = scene.uniform(-0.5, 0.15) * scene.width, scene.uniform(0.85, 1.5) * scene.width
    road, draw = scene.mask()
    near = _TIMES * 5
    draw.polygon(
        [(vanishing - near, horizon), (vanishing + near, horizon), (right, scene.height), (left, scene.height)], fill=1
    )
    scene.paint(road, "road", _textured(scene, np.full(3, brightness), scene.uniform(4, 11), 25, 6, 1))

    def on_road(across: float, along: float) -> tuple[float, float]:
        far = vanishing - near + 2 * near * across
        return far + (left + (right - left) * across - far) * along, horizon + (scene.height - horizon) * along

    white = np.full(3, min(250.0, brightness + scene.uniform(25, 100)))
    for across in (scene.uniform(0.03, 0.1), scene.uniform(0.4, 0.6), scene.uniform(0.9, 0.97)):
        dashed, along = scene.uniform(0, 1) < 0.5, 0.04
        while along < 1:
            step = 0.08 + 0.12 * along if dashed else 0.05
            end = min(1.0, along + step * (0.55 if dashed else 1.01))
            worn = white * scene.uniform(0.85, 1.05)
            scene.line([on_road(across, along), on_road(across, end)], 0.8 + 2 * along, "marking", worn)
            along += step


def _draw_trees(scene: _Scene, horizon: float) -> None:
    for _ in range(scene.random.integers(0, 4)):
        x, radius = scene.uniform(0, scene.width), _TIMES * scene.uniform(12, 32)
        y = horizon - radius * scene.uniform(0.5, 1.4)
        rows, columns = np.mgrid[: scene.height, : scene.width]
        distance = np.hypot((columns - x) / radius, (rows - y) / (radius * scene.uniform(0.8, 1.3)))
        leaves = np.array([70, 100, 50]) * scene.uniform(0.5, 1.4) + scene.random.normal(0, 10, 3)
        scene.line([(x, y), (x + scene.uniform(-9, 9), horizon + 9)], scene.uniform(2.5, 5), "tree", leaves * 0.55)
        crown = distance + 0.2 * scene.texture(8, 3) < 1
        scene.paint(crown, "tree", _textured(scene, leaves, scene.uniform(12, 26), 8, 3, 1.2))
        branches, draw = scene.mask()
        for _ in range(scene.random.integers(0, 5)):
            tip = (x + radius * scene.uniform(-0.9, 0.9), y - radius * scene.uniform(-0.3, 0.9))
            draw.line([(x, y + radius * 0.6), tip], fill=1, width=round(_TIMES * scene.uniform(1, 2)))
        scene.paint(np.logical_and(branches, crown), "tree", leaves * scene.uniform(0.4, 0.7))


def _draw_poles_and_wires(scene: _Scene, horizon: float) -> None:
    """Poles from the ground up, some with an arm or a sign; wires from pole to pole, and across the image."""
    tops: list[tuple[float, float]] = []
    for _ in range(scene.random.integers(2, 7)):
        x, foot = scene.uniform(0, scene.width), horizon + scene.uniform(0, 0.5) * (scene.height - horizon)
        length = (foot - horizon * scene.uniform(0.02, 0.7)) * scene.uniform(0.7, 1)
        top = (x + length * scene.uniform(-0.03, 0.03), foot - length)
        behind = scene.colors[int((foot + top[1]) / 2), int(np.clip(x, 0, scene.width - 1))]
        contrast = scene.uniform(18, 80) * scene.random.choice([-1, -1, 1])
        color = np.clip(np.mean(behind) + contrast + scene.random.normal(0, 6, 3), 5, 245)
        pixels = scene.uniform(1, 3)
        scene.line([(x, foot), top], pixels, "pole", color)
        if scene.uniform(0, 1) < 0.4:
            arm = (top[0] + _TIMES * scene.uniform(6, 20) * scene.random.choice([-1, 1]), top[1] - 4)
            scene.line([top, arm], max(1.0, pixels * 0.6), "pole", color)
        if scene.uniform(0, 1) < 0.45:
            _draw_sign(scene, top[0], top[1] + _TIMES * scene.uniform(0, 12))
        tops.append(top)
    ends = [(0.0, scene.uniform(0, horizon * 0.7)), *sorted(tops), (scene.width, scene.uniform(0, horizon * 0.7))]
    for start, end in itertools.pairwise(ends):
        for _ in range(scene.random.integers(0, 3)):
            gap = scene.uniform(-4, 14) * _TIMES / 3
            sag = scene.uniform(0.02, 0.12) * abs(end[0] - start[0])
            along = np.linspace(0, 1, 24)
            x = start[0] + (end[0] - start[0]) * along
            y = start[1] + (end[1] - start[1]) * along + gap + sag * 4 * along * (1 - along)
            points = list(zip(x.tolist(), y.tolist(), strict=True))
            scene.line(points, scene.uniform(0.9, 1.7), "wire", _gray(scene, 15, 85, 5))


def _draw_sign(scene: _Scene, x: float, y: float) -> None:
    board = np.array([(190, 40, 40), (40, 70, 170), (215, 215, 215), (210, 175, 40)])[scene.random.integers(4)]
    mask, draw = scene.mask()
    half_width, half_height = _TIMES * scene.uniform(2, 5), _TIMES * scene.uniform(2, 5)
    box = (x - half_width, y - half_height, x + half_width, y + half_height)
    (draw.rectangle if scene.uniform(0, 1) < 0.6 else draw.ellipse)(box, fill=1)
    scene.paint(mask, "sign", board * scene.uniform(0.6, 1.1) + 10 * scene.texture(1.5)[..., np.newaxis])


def _draw_traffic(scene: _Scene, horizon: float) -> None:
    """Cars and people on the ground, the nearer the larger; nearer ones hide what is behind them."""
    count = scene.random.integers(6, 16)
    for number, along in enumerate(sorted(scene.random.uniform(0.04, 0.85, count) ** 1.3), start=1):
        foot = horizon + (scene.height - horizon) * along
        x, size = scene.uniform(0.02, 0.98) * scene.width, _TIMES * (7 + 42 * along)
        color = np.clip(scene.random.normal(115, 60, 3), 15, 240)
        (_draw_car if scene.uniform(0, 1) < 0.5 else _draw_person)(scene, x, foot, size, color, number)


def _draw_car(scene: _Scene, x: float, foot: float, size: float, color: np.ndarray, number: int) -> None:
    half, height = size * scene.uniform(0.75, 1.1), size * scene.uniform(0.4, 0.55)
    body, draw = scene.mask()
    draw.rounded_rectangle((x - half, foot - 1.1 * height, x + half, foot - 0.15 * height), height / 5, fill=1)
    roof = [(-0.75, 1.05), (-0.45, 1.9), (0.35, 1.9), (0.7, 1.05)]
    draw.polygon([(x + half * across, foot - height * up) for across, up in roof], fill=1)
    scene.paint(body, "car", _textured(scene, color, 6, 10, 3), number)
    windows, draw = scene.mask()
    for left, right in ((-0.6, -0.08), (0.02, 0.5)):
        corners = [(left, 1.1), (left * 0.7, 1.75), (right * 0.7, 1.75), (right, 1.1)]
        draw.polygon([(x + half * across, foot - height * up) for across, up in corners], fill=1)
    scene.paint(windows, "car", _gray(scene, 30, 150), number)
    wheels, draw = scene.mask()
    for across in (-0.55, 0.55):
        middle, radius = x + half * across, 0.24 * height
        draw.ellipse((middle - radius, foot - 2 * radius, middle + radius, foot), fill=1)
    scene.paint(wheels, "car", np.full(3, scene.uniform(10, 50)), number)


def _draw_person(scene: _Scene, x: float, foot: float, size: float, color: np.ndarray, number: int) -> None:
    height = size * scene.uniform(0.9, 1.2)
    legs, draw = scene.mask()
    for side in (-1, 1):
        step = side * height * scene.uniform(0.03, 0.12)
        draw.line([(x, foot - 0.5 * height), (x + step, foot)], fill=1, width=max(2, round(0.09 * height)))
    scene.paint(legs, "person", np.clip(scene.random.normal(60, 35, 3), 10, 200), number)
    trunk, draw = scene.mask()
    half = height * scene.uniform(0.1, 0.16)
    draw.rounded_rectangle((x - half, foot - 0.85 * height, x + half, foot - 0.42 * height), half / 2, fill=1)
    scene.paint(trunk, "person", _textured(scene, color, 6, 6, 2), number)
    head, draw = scene.mask()
    radius = 0.075 * height
    draw.ellipse((x - radius, foot - height, x + radius, foot - 0.85 * height), fill=1)
    skin = np.array([205, 160, 130]) * scene.uniform(0.4, 1.15)
    scene.paint(head, "person", skin, number)


def _photographed(scene: _Scene) -> np.ndarray:
    """The image under some light, with shadows, blur and noise."""
    rows, columns = np.mgrid[: scene.height, : scene.width] / scene.width
    angle, strength = scene.uniform(0, 2 * np.pi), scene.uniform(0, 0.5)
    light = 1 + strength * (np.cos(angle) * (columns - 0.5) + np.sin(angle) * (rows - 0.37))
    for _ in range(scene.random.integers(0, 3)):
        shadow, draw = scene.mask()
        x, wide = scene.uniform(0, scene.width), scene.uniform(20, 250)
        slant = scene.uniform(-150, 150)
        draw.polygon([(x, 0), (x + wide, 0), (x + wide + slant, scene.height), (x + slant, scene.height)], fill=255)
        soft = np.asarray(shadow.filter(ImageFilter.GaussianBlur(scene.uniform(2, 12)))) / 255
        light *= 1 - scene.uniform(0.15, 0.5) * soft
    lit = np.clip(scene.colors, 0, 255) / 255 * light[..., np.newaxis] * scene.random.normal(1, 0.05, 3)
    lit = np.clip(lit * scene.uniform(0.65, 1.25), 0, 1) ** scene.uniform(0.75, 1.35)
    large = Image.fromarray((255 * lit).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(_TIMES * scene.uniform(0.1, 0.6))
    )
    small = np.asarray(large, np.float64).reshape(HEIGHT, _TIMES, WIDTH, _TIMES, 3).mean((1, 3))
    noise = scene.random.normal(0, scene.uniform(3, 11), small.shape)
    return np.clip(np.round(small + noise), 0, 255).astype(np.uint8)


def _labels(scene: _Scene) -> tuple[np.ndarray, np.ndarray]:
    """Of each pixel the class and the object with most of its area, or a thin class that has enough of it."""
    segments = scene.class_ids.astype(np.int64) << 16 | scene.numbers
    cells = segments.reshape(HEIGHT, _TIMES, WIDTH, _TIMES)
    found = np.unique(segments)
    shares = np.stack([(cells == segment).mean((1, 3)) for segment in found], axis=-1)
    thin = np.isin(found >> 16, [_IDS[name] for name in THIN])
    largest = found[np.where(thin & (shares >= _THIN_SHARE), shares + 1, shares).argmax(axis=-1)]
    return (largest >> 16).astype(np.uint8), (largest & 0xFFFF).astype(np.uint16)


def main() -> None:
    """Writes busy streets."""
    parser = argparse.ArgumentParser(description=main.__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", help="a new folder for train/, val/ and test/")
    for split, count in (("train", 200), ("val", 30), ("test", 50)):
        parser.add_argument(f"--{split}", type=int, default=count, metavar="N", help="images of this split")
    given = parser.parse_args()
    folder = pathlib.Path(given.folder)
    if folder.exists():
        parser.error(f"{folder} is there already")
    save(folder, {"train": given.train, "val": given.val, "test": given.test}, are_busy=True)


if __name__ == "__main__":
    main()
