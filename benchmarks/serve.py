"""The model server against bare calls of the same SavedModel, with 1, 4 and 16 clients.

Clients are threads of another process, each with one connection and one image a request, the next when the answer is
there. Bare calls have batches of as many images as there are clients, encoded likewise, and answer with tensors. The
cores are shared by all. The value is the rate with 16 clients.
"""

import base64
import glob
import http.client
import json
import subprocess
import sys
import threading
import time

from common import arguments, dataset, in_fresh_process, report, run_pipeline, scratch, train_files

_CLIENTS = (1, 4, 16)


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, filters=32, pixels=128, images=64, seconds=8, rounds=2)
    sections = {
        "preprocessing": {"height": sizes.pixels, "width": sizes.pixels},
        "model": {"filters": sizes.filters},
        "train": {"epochs": 1},
    }
    with scratch() as folder:
        data = dataset(train=16, evaluation=4, test=sizes.images, shards=1)
        run_pipeline(str(folder), data, "Trainer", **sections)
        (model,) = glob.glob(f"{folder}/artifacts/Trainer/model/*/Format-Serving")
        found: dict[int, list[tuple[float, list[float], float]]] = {clients: [] for clients in _CLIENTS}
        for _ in range(sizes.rounds):
            for clients in _CLIENTS:
                served = in_fresh_process(_served, model, train_files(data, "test"), clients, sizes.seconds)
                bare = in_fresh_process(_bare, model, train_files(data, "test"), clients, sizes.seconds)
                found[clients].append((*served, bare))
    lines = {}
    for clients, rounds in found.items():
        rate, seconds, bare = (
            sum(part[0] for part in rounds) / len(rounds),
            sorted(second for part in rounds for second in part[1]),
            sum(part[2] for part in rounds) / len(rounds),
        )
        lines[clients] = {
            "requests_per_s": round(rate, 1),
            "bare_images_per_s": round(bare, 1),
            "ratio": round(rate / bare, 3),
            "p50_ms": round(1000 * seconds[len(seconds) // 2], 1),
            "p99_ms": round(1000 * seconds[int(0.99 * len(seconds))], 1),
        }
    most = lines[_CLIENTS[-1]]
    report(
        "serve",
        most["requests_per_s"],
        "requests/s",
        "bare calls of the SavedModel in batches of 16",
        most["bare_images_per_s"],
        **vars(sizes),
        clients=lines,
    )


def _images(files: list[str]) -> list[bytes]:
    import tensorflow as tf

    from data import contract

    return [
        tf.train.Example.FromString(record.numpy()).features.feature[contract.IMAGE].bytes_list.value[0]
        for record in tf.data.TFRecordDataset(files)
    ]


def _served(model: str, files: list[str], clients: int, seconds: int) -> tuple[float, list[float]]:
    """Requests a second, and the seconds of each."""
    bodies = [json.dumps({"instances": [{"b64": base64.b64encode(image).decode()}]}) for image in _images(files)]
    command = [sys.executable, "-m", "pipeline.cli", "serve", "--model", model, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().rpartition(":")[2].rstrip("/\n"))
        took: list[float] = []
        end = 0.0

        def send(first: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            index = first
            while (started := time.monotonic()) < end:
                connection.request("POST", "/v1/models/segpipe:predict", bodies[index % len(bodies)])
                response = connection.getresponse()
                response.read()
                assert response.status == http.HTTPStatus.OK
                took.append(time.monotonic() - started)
                index += clients

        for measured in (2, seconds):  # First, so that all is warm.
            took.clear()
            started = time.monotonic()
            end = started + measured
            threads = [threading.Thread(target=send, args=(first,)) for first in range(clients)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            rate = len(took) / (time.monotonic() - started)
        server.terminate()
    return rate, took


def _bare(model: str, files: list[str], batch: int, seconds: int) -> float:
    import tensorflow as tf

    images = _images(files)
    serve = tf.saved_model.load(model).signatures["serving_default"]
    for measured in (2, seconds):
        count, started = 0, time.monotonic()
        while time.monotonic() < started + measured:
            chosen = [images[(count + index) % len(images)] for index in range(batch)]
            outputs = serve(tf.constant(chosen))
            for name in ("class_ids", "confidence"):
                outputs[name].numpy()
            count += batch
        rate = count / (time.monotonic() - started)
    return rate


if __name__ == "__main__":
    main()
