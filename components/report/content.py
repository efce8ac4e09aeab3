"""What the report says, gathered from the run's artifacts."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow_model_analysis as tfma
import yaml
from markupsafe import Markup, escape
from tfx import types
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.data_gate import read_statistics
from components.deployed_model import has_model
from components.drift import distances
from components.evaluator import read_metrics
from components.import_example_gen import read_conversions
from components.report import charts, listing, pictures
from components.report.identity import identity
from components.serving_check import BLESSED_PROPERTY, EXPORTS_PROPERTY, REASON_PROPERTY
from data.base import pages
from data.base.files import read_bytes
from data.base.packages import package_versions
from data.contract import SPLITS
from data.label_map import LabelMap
from data.spans import NEWEST_SPLIT
from models.ensemble import out_of_fold
from models.ensemble.folds import DOUBTS_FILE, member_names
from models.evaluation import metrics
from models.evaluation.gate import VERDICT_PROPERTY, Check, Verdict
from models.evaluation.metric_table import METRICS, Metric, signed
from models.evaluation.settings import WATCHED
from models.evaluation.sums import IMAGE_SIZES, REGION_SIZES, SIZES
from models.exports.exports import SAVED_MODEL
from models.exports.settings import ExportSettings
from models.serving.signatures import read_facts

TEMPLATE_PATH = pathlib.Path(__file__).with_name("template.html")
# Lines of a list that may be long.
_SHOWN = 100
_MOST_DOUBTED = 30
# Classes whose confusions are a table.
_MOST_IN_TABLE = 25


def render(inputs: dict[str, types.Artifact], configuration: dict[str, Any], max_bytes: int, run: str) -> str:
    """The report as HTML.

    Args:
      inputs: of the component, by name.
      configuration: of the run.
      max_bytes: the most that the file may take; pictures shrink to keep it.
      run: its name.
    """
    model = path_utils.serving_model_path(inputs["model"].uri)
    facts = read_facts(model)
    if facts is None:
        raise ValueError(f"{model} was not exported by segpipe")
    label_map = LabelMap.model_validate(facts["label_map"])
    verdict = Verdict.from_json(inputs["evaluation"].get_string_custom_property(VERDICT_PROPERTY))
    has_baseline = verdict.baseline_metrics is not None
    by_slice = read_metrics(inputs["evaluation"].uri, tfma.CANDIDATE_KEY if has_baseline else "")
    before = read_metrics(inputs["evaluation"].uri, tfma.BASELINE_KEY) if has_baseline else {}
    whole = by_slice[""]
    has_objects = "pq" in whole
    watched = WATCHED[configuration.get("task", "semantic")]
    statistics = read_statistics(inputs["data_statistics"].uri)
    deployed_facts = _deployed_facts(inputs["baseline_model"])
    serving = inputs["infra_blessing"]
    models = [os.path.join(inputs["model_run"].uri, name) for name in member_names(facts["train"]["folds"])]
    page = {
        "name": configuration["name"],
        **identity(run, inputs, configuration, verdict),
        "written": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "resolution": verdict.resolution,
        "gate_passed": verdict.passed,
        "checks": verdict.checks,
        "serving_passed": bool(serving.get_int_custom_property(BLESSED_PROPERTY)),
        "serving_reason": serving.get_string_custom_property(REASON_PROPERTY),
        "serving": json.loads(read_bytes(os.path.join(serving.uri, "measured.json"))),
        "exports": _exports(serving, configuration),
        "baseline_version": verdict.baseline_version,
        "watched": METRICS[watched].words,
        "interval_values": [whole[f"{watched}_{end}"] for end in ("lower", "upper")],
        "interval_of_mean_iou": [whole["mean_iou_lower"], whole["mean_iou_upper"]],
        "change": [whole.get(f"{watched}_change{end}") for end in ("", "_lower", "_upper")],
        "images": int(whole["images"]),
        "headlines": [
            {"label": metric.words, "value": whole[metric.key()], "before": before.get("", {}).get(metric.key())}
            for metric in sorted(METRICS.values(), key=lambda metric: metric.name != watched)
            if metric.is_headline and not metric.by_class and metric.key() in whole
        ],
        "groups": _groups(whole),
        "objects": _objects(whole) if has_objects else None,
        "class_columns": [metric.words for metric in _class_metrics(whole)],
        "classes": _classes(label_map, whole, before.get("", {}), statistics),
        "slices": [
            {
                "name": name,
                "images": int(values["images"]),
                "value": values["mean_iou"],
                "interval": [values["mean_iou_lower"], values["mean_iou_upper"]],
                "before": before.get(name, {}).get("mean_iou"),
            }
            for name, values in sorted(by_slice.items())
            if name
        ],
        "sizes": [
            {"label": f"{size} {what}", "value": whole[f"mean_iou_{size}_{what}"]}
            for what in ("images", "regions")
            for size in SIZES
            if whole[f"mean_iou_{size}_{what}"] is not None
        ],
        "image_sizes": IMAGE_SIZES,
        "region_sizes": [f"{100 * share:g} %" for share in REGION_SIZES],
        "confusion": _confusion(whole["confusion_matrix"], label_map.names),
        "initial_weights": facts["initial_weights"],
        "begun_with": os.path.basename(facts["deployed_model"]),
        "trained_epochs": facts["trained_epochs"],
        "minutes": facts["train"]["minutes"],
        "models": len(models),
        **_training(read_curves(models), facts),
        "doubts": out_of_fold.read(os.path.join(inputs["model_run"].uri, DOUBTS_FILE)),
        "doubts_file": DOUBTS_FILE,
        "most_doubted": _MOST_DOUBTED,
        **_distributions(statistics, deployed_facts),
        "newest_span": verdict.newest_span,
        "warnings": statistics.get("warnings", []),
        "set_aside": _set_aside(inputs["examples"]),
        "shown": _SHOWN,
        "configuration": yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True),
        "versions": package_versions(),
        "steps": _steps(inputs),
    }
    names = [name.decode(errors="replace") for name in whole["image_names"]]
    choices = pictures.choose(names, whole["image_mean_iou"])
    test = artifact_utils.get_split_uri([inputs["examples"]], "test")
    drawn = pictures.draw(model, facts, test, choices)
    template = pages.template(
        TEMPLATE_PATH, number=_number, measured=_measured, signed=signed, share=_share, breakable=_breakable, code=_code
    )
    html = ""
    for side in pictures.sides(drawn):
        chosen = drawn if side else []
        shown = [
            {"choice": item.choice, "size": item.size, "layers": pictures.layers(item, label_map, side)}
            for item in chosen
        ]
        pictured = [item.choice.name for item in chosen]
        listed = listing.list_images(names, whole["image_mean_iou"], pictured, max_bytes)
        html = template.render(
            page, pictures=shown, side=side, listed=listed, label_map=label_map, found_images=len(names)
        )
        if len(html.encode()) <= max_bytes:
            break
    return html


def read_curves(folders: list[str]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """The trainer's curves, of several models their means; where some ended early, the means of the others.

    Args:
      folders: of each model's logs.

    Returns:
      By split and name, epochs counted from 0 and values.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for split in ("train", "validation"):
        values: dict[str, dict[int, list[float]]] = {}
        for folder in folders:
            events = EventAccumulator(os.path.join(folder, split), size_guidance={"tensors": 0})
            events.Reload()
            for tag in events.Tags()["tensors"]:
                of_tag = values.setdefault(tag.removeprefix("epoch_"), {})
                of_epochs = {event.step: float(_scalar(event.tensor_proto)) for event in events.Tensors(tag)}
                for epoch, value in of_epochs.items():
                    of_tag.setdefault(epoch, []).append(value)
        curves[split] = {
            name: [(epoch, sum(found) / len(found)) for epoch, found in sorted(of_tag.items())]
            for name, of_tag in values.items()
        }
    return curves


def _training(curves: dict[str, dict[str, list[tuple[int, float]]]], facts: dict[str, Any]) -> dict[str, Any]:
    """The learning curves, and what must be known to read them."""
    settings = facts["train"]
    unit = "evaluation" if settings["minutes"] else "epoch"
    return {
        "curves": charts.learning_curves(curves, unit),
        "stages": charts.stages(curves),
        "unit": unit,
        "is_augmented": any((settings.get("augmentation") or {}).values()),
        "has_dropout": bool(facts["model"].get("dropout")),
        "is_averaged": bool(settings.get("ema_momentum")),
    }


def _scalar(proto: Any) -> np.ndarray:
    import tensorflow as tf

    return tf.make_ndarray(proto)


def _objects(values: dict[str, Any]) -> dict[str, Any]:
    """Counts of each image, and what was found of objects of each size."""
    labeled, hit, ious, invented = values["objects_by_area"]
    return {
        "counting_error": values["counting_error"],
        "chart": charts.counts(values["object_counts"]),
        "sizes": [
            {
                "area": f"{2**power:,} to {2 ** (power + 1):,}",
                "labeled": int(labeled[power]),
                "found": hit[power] / labeled[power] if labeled[power] else None,
                "iou": ious[power] / hit[power] if hit[power] else None,
                "invented": int(invented[power]),
            }
            for power in np.flatnonzero(labeled + invented).tolist()
        ],
    }


def _confusion(matrix: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Of [C, C] counts by label and prediction, the shares of each label: a table, or a chart of many classes."""
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    is_table = len(names) <= _MOST_IN_TABLE
    return {
        "names": names,
        "rows": shares.tolist() if is_table else [],
        "chart": "" if is_table else charts.confusion(shares),
    }


def _class_metrics(values: dict[str, Any]) -> list[Metric]:
    """The columns of the table of classes: what was measured."""
    return [
        metric
        for metric in METRICS.values()
        if metric.is_headline and metric.by_class and any(key.startswith(metric.key()) for key in values)
    ]


def _groups(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Each group of images, such as a volume, the worst first; none if there are no groups."""
    if "group_names" not in values:
        return []
    totals = values["group_totals"]
    measures = {"iou": metrics.mean_iou(totals), "dice": metrics.mean_over_classes(metrics.class_dice(totals))}
    found = [
        {"name": name.decode(errors="replace"), **{key: float(of_groups[index]) for key, of_groups in measures.items()}}
        for index, name in enumerate(values["group_names"])
    ]
    # A group without a labeled or predicted pixel has none.
    found = [{key: None if value != value else value for key, value in group.items()} for group in found]
    return sorted(found, key=lambda group: (group["iou"] is None, group["iou"]))


def _classes(
    label_map: LabelMap, values: dict[str, Any], before: dict[str, Any], statistics: dict[str, Any]
) -> list[dict[str, Any]]:
    shares = statistics["splits"].get("test", {}).get("pixel_shares", {})
    return [
        {
            "name": label.name,
            "color": "#{:02x}{:02x}{:02x}".format(*label.color),
            "share": shares.get(label.name),
            "values": [values[metric.key(label.name)] for metric in _class_metrics(values)],
            "iou": values[METRICS["iou"].key(label.name)],
            "before": before.get(METRICS["iou"].key(label.name)),
        }
        for label in label_map.classes
    ]


def _exports(serving: types.Artifact, configuration: dict[str, Any]) -> list[dict[str, Any]]:
    """The SavedModel and its exports, with the least mean IoU of each; none where none were asked for."""
    found = json.loads(serving.get_string_custom_property(EXPORTS_PROPERTY) or "{}")
    if not found:
        return []
    losses = ExportSettings.model_validate(configuration["export"]).max_losses
    reference = found[SAVED_MODEL]["mean_iou"]
    return [
        {
            **item,
            "name": "SavedModel" if name == SAVED_MODEL else name,
            "least": reference - losses[name] if name in losses and reference is not None else None,
            "megabytes": item["bytes"] / 1e6 if item["bytes"] else None,
        }
        for name, item in found.items()
    ]


def _deployed_facts(baseline: types.Artifact) -> dict[str, Any] | None:
    return read_facts(path_utils.serving_model_path(baseline.uri)) if has_model(baseline) else None


def _distributions(statistics: dict[str, Any], deployed: dict[str, Any] | None) -> dict[str, Any]:
    """Classes and sizes by split; where there is a deployed model, also of what it was trained on."""
    found = {name: values for name, values in statistics["splits"].items() if values["examples"]}
    splits = {name: found[name] for name in (*SPLITS, NEWEST_SPLIT) if name in found}
    old = (deployed or {}).get("statistics", {}).get("splits", {}).get("train")
    of_splits = {**splits, **({"train, of the deployed model": old} if old else {})}
    classes = list(splits["train"]["pixel_shares"])
    sizes = sorted({int(size) for values in of_splits.values() for size in values["images_by_pixels"]})
    return {
        "splits": splits,
        "class_bars": _bars(
            classes,
            {name: [values["pixel_shares"].get(key, 0) for key in classes] for name, values in of_splits.items()},
        ),
        "size_bars": _bars(
            [f"{_side(size)} to {_side(2 * size)}" for size in sizes],
            {
                name: [values["images_by_pixels"].get(str(size), 0) / values["examples"] for size in sizes]
                for name, values in of_splits.items()
            },
        ),
        "drift": distances(splits["train"], old) if old else None,
    }


def _bars(names: list[str], of_splits: dict[str, list[float]]) -> dict[str, Any]:
    """Shares, 0 to 1, of each name, side by side for each split."""
    colors = dict(zip(of_splits, charts.COLORS, strict=False))
    return {
        "colors": colors,
        "most": max((share for shares in of_splits.values() for share in shares), default=0) or 1,
        "rows": [
            {"name": name, "bars": [(split, colors[split], shares[index]) for split, shares in of_splits.items()]}
            for index, name in enumerate(names)
        ],
    }


def _side(pixels: int) -> str:
    return f"{round(pixels**0.5)}²"


def _set_aside(examples: types.Artifact) -> list[dict[str, str]] | None:
    """What the conversions set aside, or None if these TFRecords have no report of one."""
    conversions = read_conversions(examples)
    return [entry for conversion in conversions for entry in conversion["set_aside"]] if conversions else None


def _steps(inputs: dict[str, types.Artifact]) -> list[dict[str, str]]:
    """When each step's result was there, oldest first; steps from the cache are older than the run."""
    labels = {
        "examples": "data read",
        "data_statistics": "data checked",
        "model": "model trained",
        "evaluation": "model evaluated",
        "infra_blessing": "serving checked",
    }
    times = {label: inputs[name].mlmd_artifact.create_time_since_epoch / 1000 for name, label in labels.items()}
    known = sorted((seconds, label) for label, seconds in times.items() if seconds)
    steps, previous = [], None
    for seconds, label in known:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
        took = "" if previous is None else f"{seconds - previous:.0f} s"
        steps.append({"label": label, "time": f"{moment:%Y-%m-%d %H:%M:%S}", "took": took})
        previous = seconds
    return steps


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _measured(value: float | None, check: Check) -> str:
    """A number of a check: counts as they are."""
    is_count = check.metric in METRICS and METRICS[check.metric].is_count
    return _number(value, 0 if is_count else 4)


def _share(value: float) -> str:
    """A share, 0 to 1, in percent; what is not quite nothing does not look like it."""
    return "< 0.1 %" if 0 < value < 0.0005 else f"{100 * value:.1f} %"


def _breakable(name: str) -> Markup:
    """A name that may be broken into lines where people would."""
    return Markup(re.sub(r"([/_.-])(?=\w)", r"\1<wbr>", str(escape(name))))


def _code(text: str) -> Markup:
    """A text with what stands between backquotes as code."""
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(text))))
