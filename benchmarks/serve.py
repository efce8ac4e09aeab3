"""The model server against bare calls of the same SavedModel, with 1, 4 and 16 clients.

Clients are threads of another process, each with one connection and one image a request, the next when the answer is
there. Bare calls have batches of as many images as there are clients, encoded likewise, and answer with tensors. The
cores are shared by all. The value is the rate with 16 clients.

Then three servers take turns, with 16 clients: one that keeps no requests, one that keeps `--keep-share`, and one that
keeps all. What keeping costs is the median over the turns of the rate in shares of the first server's.
"""

import base64
import contextlib
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

from common import arguments, dataset, in_fresh_process, report, scratch, train_files, trained_model

_CLIENTS = (1, 4, 16)


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, filters=32, depth=4, pixels=128, images=64, seconds=4.0, turns=5, keep_share=0.02)
    with scratch() as folder:
        data = dataset(train=16, evaluation=4, test=sizes.images, shards=1)
        model = trained_model(folder, data, sizes)
        served = in_fresh_process(_served, model, train_files(data, "test"), sizes.seconds)
        kept = in_fresh_process(_kept, model, train_files(data, "test"), sizes.seconds, sizes.turns, sizes.keep_share)
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
        kept={share: round(value, 3) for share, value in kept.items()},
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
    bodies = _bodies(files)
    found = {}
    with _server(model) as port:
        _send(port, bodies, 4, seconds / 2)  # So that all is warm.
        for clients in _CLIENTS:
            started = time.monotonic()
            took = sorted(_send(port, bodies, clients, seconds))
            found[clients] = {
                "requests_per_s": len(took) / (time.monotonic() - started),
                "p50_ms": 1000 * took[len(took) // 2],
                "p99_ms": 1000 * took[int(0.99 * len(took))],
            }
    return found


def _kept(model: str, files: list[str], seconds: float, turns: int, share: float) -> dict[str, float]:
    """By the share of the requests that are kept, the rate in shares of that of a server that keeps none."""
    bodies, found = _bodies(files), dict[str, list[float]]()
    with contextlib.ExitStack() as stack:
        ports = {"none": stack.enter_context(_server(model))}
        for kept in (share, 1.0):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            ports[f"{kept:g}"] = stack.enter_context(_server(model, "--keep", folder, "--keep-share", str(kept)))
        for port in ports.values():
            _send(port, bodies, 4, seconds / 2)
        for _ in range(turns):
            rates = {}
            for kept, port in ports.items():
                started = time.monotonic()
                rates[kept] = len(_send(port, bodies, _CLIENTS[-1], seconds)) / (time.monotonic() - started)
            for kept, rate in rates.items():
                found.setdefault(kept, []).append(rate / rates["none"])
    return {kept: statistics.median(rates) for kept, rates in found.items() if kept != "none"}


def _bodies(files: list[str]) -> list[str]:
    return [json.dumps({"instances": [{"b64": base64.b64encode(image).decode()}]}) for image in _images(files)]


@contextlib.contextmanager
def _server(model: str, *options: str) -> Iterator[int]:
    """The port of a server."""
    command = [sys.executable, "-m", "pipeline.cli", "serve", "--model", model, "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        yield int(server.stdout.readline().rpartition(":")[2].rstrip("/\n"))
        server.terminate()


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
