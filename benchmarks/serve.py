"""The model server against bare calls of the same SavedModel, with 1, 4 and 16 clients.

Clients are threads of another process, each with one connection and one image a request, the next when the answer is
there. Bare calls have batches of as many images as there are clients, encoded likewise, and answer with tensors. The
cores are shared by all. The value is the rate with 16 clients.
"""

import base64
import http.client
import json
import subprocess
import sys
import threading
import time

from common import arguments, dataset, in_fresh_process, report, scratch, train_files, trained_model

_CLIENTS = (1, 4, 16)


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, filters=32, depth=4, pixels=128, images=64, seconds=4.0)
    with scratch() as folder:
        data = dataset(train=16, evaluation=4, test=sizes.images, shards=1)
        model = trained_model(folder, data, sizes)
        served = in_fresh_process(_served, model, train_files(data, "test"), sizes.seconds)
        bare = in_fresh_process(_bare, model, train_files(data, "test"), sizes.seconds)
    lines = {
        clients: {
            **served[clients],
            "bare_images_per_s": bare[clients],
            "ratio": served[clients]["requests_per_s"] / bare[clients],
        }
        for clients in _CLIENTS
    }
    report(
        "serve",
        served[_CLIENTS[-1]]["requests_per_s"],
        "requests/s",
        "bare calls of the SavedModel in batches of 16",
        bare[_CLIENTS[-1]],
        **vars(sizes),
        clients={clients: {key: round(value, 3) for key, value in line.items()} for clients, line in lines.items()},
    )


def _images(files: list[str]) -> list[bytes]:
    import tensorflow as tf

    from data import contract

    return [
        tf.train.Example.FromString(record.numpy()).features.feature[contract.IMAGE].bytes_list.value[0]
        for record in tf.data.TFRecordDataset(files)
    ]


def _served(model: str, files: list[str], seconds: float) -> dict[int, dict[str, float]]:
    """Of each number of clients requests a second, and milliseconds of a request."""
    bodies = [json.dumps({"instances": [{"b64": base64.b64encode(image).decode()}]}) for image in _images(files)]
    command = [sys.executable, "-m", "pipeline.cli", "serve", "--model", model, "--port", "0"]
    found = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().rpartition(":")[2].rstrip("/\n"))
        _send(port, bodies, 4, seconds / 2)  # So that all is warm.
        for clients in _CLIENTS:
            started = time.monotonic()
            took = sorted(_send(port, bodies, clients, seconds))
            found[clients] = {
                "requests_per_s": len(took) / (time.monotonic() - started),
                "p50_ms": 1000 * took[len(took) // 2],
                "p99_ms": 1000 * took[int(0.99 * len(took))],
            }
        server.terminate()
    return found


def _send(port: int, bodies: list[str], clients: int, seconds: float) -> list[float]:
    """Seconds of each request of a number of clients in a time."""
    took: list[float] = []
    end = time.monotonic() + seconds

    def send(index: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while (started := time.monotonic()) < end:
            connection.request("POST", "/v1/models/segpipe:predict", bodies[index % len(bodies)])
            response = connection.getresponse()
            response.read()
            assert response.status == http.HTTPStatus.OK
            took.append(time.monotonic() - started)
            index += clients

    threads = [threading.Thread(target=send, args=(first,)) for first in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took


def _bare(model: str, files: list[str], seconds: float) -> dict[int, float]:
    """Images a second in batches of as many as there are clients."""
    import tensorflow as tf

    images = _images(files)
    serve = tf.saved_model.load(model).signatures["serving_default"]

    def rate(batch: int, seconds: float) -> float:
        count, started = 0, time.monotonic()
        while time.monotonic() < started + seconds:
            outputs = serve(tf.constant([images[(count + index) % len(images)] for index in range(batch)]))
            for name in ("class_ids", "confidence"):
                outputs[name].numpy()
            count += batch
        return count / (time.monotonic() - started)

    rate(4, seconds / 2)
    return {batch: rate(batch, seconds) for batch in _CLIENTS}


if __name__ == "__main__":
    main()
