"""Conversion and ingest on a Flink cluster of one and of two task managers, against Beam's direct runner.

Each task manager, like the direct runner's process, has one core. Rates are marginal: (large - small) images over the
difference in seconds. With Flink these are the seconds of the tasks that read images, by Flink's own clock, since the
rest of a job takes another half a minute, which varies. `seconds` are those of whole steps, `shuffled_bytes_an_image`
what went between tasks with two task managers, by Flink's own count. Needs root, and what `make test-flink` fetches.
"""

import importlib
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

import yaml
from common import ROOT, arguments, dataset, report, run_pipeline, scratch, source_folder

# What the tasks that read images are called, in each step.
READERS = {
    "convert": "WriteShard",
    "ImportExampleGen": "CheckAndCopy",
    "StatisticsGen": "TFXIORead[train]",
    "DataGate": "Check[train]",
    "Transform": "TFXIOReadAndDecode",
}
COMPONENTS = tuple(READERS)[1:]


def convert(source: pathlib.Path, folder: pathlib.Path, beam: dict, core: int) -> float:
    """Seconds of a conversion in a fresh process that is pinned to a core."""
    config = folder / "beam.yaml"
    config.write_text(yaml.safe_dump({"name": "bench", "output": "x", "data": {"input": "x"}, "beam": beam}))
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "pipeline.cli",
        "convert",
        "--format",
        "mask-folder",
        "--overwrite",
        # The same number for each size, so that two task managers share small sizes, too.
        "--shards",
        "8",
    ]
    options = ["--labels", str(source / "labels.yaml"), "--config", str(config), str(source), str(folder / "converted")]
    start = time.monotonic()
    pinned = ["taskset", "--cpu-list", str(core), *command, *options]
    ended = subprocess.run(pinned, cwd=ROOT, check=False, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(ended.stderr)
    return time.monotonic() - start


def make_images(folder: pathlib.Path, count: int) -> pathlib.Path:
    """Makes a mask folder of real images, repeated under distinct names."""
    import tensorflow as tf

    from data import contract

    paths = sorted(map(str, source_folder().glob("*.tfrecord")))
    records = [record.numpy() for record in tf.data.TFRecordDataset(paths)]
    for kind, feature, suffix in (("images", contract.IMAGE, "jpg"), ("masks", contract.MASK, "png")):
        (folder / kind).mkdir(parents=True)
        for index in range(count):
            example = tf.train.Example.FromString(records[index % len(records)])
            content = example.features.feature[feature].bytes_list.value[0]
            (folder / kind / f"{index:06d}.{suffix}").write_bytes(content)
    (folder / "labels.yaml").write_bytes((source_folder() / contract.LABEL_MAP_FILE).read_bytes())
    return folder


def of_jobs(cluster: Any, finished: int) -> dict[str, tuple[float, int]]:
    """By step, for jobs after the first `finished`: seconds of the slowest reading task, bytes between all tasks."""
    found = {}
    for job in cluster.jobs()[finished:]:
        (step,) = (name for name in READERS if name.lower() in job["name"])
        vertices = cluster.ask(f"jobs/{job['jid']}")["vertices"]
        seconds = max(vertex["duration"] for vertex in vertices if READERS[step] in vertex["name"]) / 1000
        found[step] = (seconds, sum(vertex["metrics"]["write-bytes"] for vertex in vertices))
    return found


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, small=1000, large=6000)
    sys.path.insert(0, str(ROOT))
    cluster_module = importlib.import_module("tests.flink.cluster")
    cores = sorted(os.sched_getaffinity(0))[:2]
    seconds: dict[str, dict[str, dict[int, float]]] = {}
    jobs: dict[str, dict[int, dict[str, tuple[float, int]]]] = {}
    with scratch() as folder:
        counts = (sizes.small, sizes.large)
        images = {count: make_images(folder / f"images{count}", count) for count in counts}
        cluster = cluster_module.Cluster(folder, {"TF_CPP_MIN_LOG_LEVEL": "3"}, pinned=True)
        try:
            cluster.start(task_managers=1)
            options = {"address": cluster_module.ADDRESS, "version": "1.19", "job_server": cluster.start_job_server()}
            modes = {
                "direct": {},
                "flink-1": {"runner": "flink", "options": {**options, "parallelism": 1}},
                "flink-2": {"runner": "flink", "options": {**options, "parallelism": 2}},
            }
            for mode, beam in modes.items():
                if mode == "flink-2":
                    cluster.add_task_manager(1)
                    cluster.wait_for_task_managers(2)
                of = seconds[mode] = {name: {} for name in READERS}
                jobs[mode] = {}
                for count in counts:
                    finished = len(cluster.jobs())
                    of["convert"][count] = convert(images[count], folder, beam, cores[0])
                    output = folder / f"{mode}-{count}"
                    output.mkdir()
                    # A process that only waits for a cluster may use any core.
                    pinned = {cores[0]} if mode == "direct" else None
                    measured = run_pipeline(str(output), dataset(train=count), "Transform", pinned, beam=beam)
                    for name in COMPONENTS:
                        of[name][count] = measured[name]["seconds"]
                    jobs[mode][count] = of_jobs(cluster, finished)
        finally:
            cluster.stop()
    for step in (("convert",), COMPONENTS):
        rates, fixed = {}, {}
        for mode, of in seconds.items():
            whole = {count: sum(of[name][count] for name in step) for count in counts}
            reading = whole
            if mode != "direct":
                reading = {count: sum(jobs[mode][count][name][0] for name in step) for count in counts}
            rates[mode] = (sizes.large - sizes.small) / (reading[sizes.large] - reading[sizes.small])
            fixed[mode] = whole[sizes.small] - sizes.small / rates[mode]
        report(
            "flink_convert" if step == ("convert",) else "flink_ingest",
            rates["flink-2"],
            "images/s",
            "one task manager",
            rates["flink-1"],
            **vars(sizes),
            direct_images_per_s=rates["direct"],
            **{f"{mode.replace('-', '_')}_fixed_seconds": value for mode, value in fixed.items()},
            seconds={
                name: {mode: [round(of[name][count], 1) for count in counts] for mode, of in seconds.items()}
                for name in step
            },
            reading_seconds={
                name: {
                    mode: [round(of[count][name][0], 1) for count in counts]
                    for mode, of in jobs.items()
                    if of[counts[0]]
                }
                for name in step
            },
            shuffled_bytes_an_image={
                name: round(
                    (jobs["flink-2"][sizes.large][name][1] - jobs["flink-2"][sizes.small][name][1])
                    / (sizes.large - sizes.small)
                )
                for name in step
            },
        )


if __name__ == "__main__":
    main()
