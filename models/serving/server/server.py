"""The HTTP server: TF Serving's REST paths, a page to try the model, health and metrics."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import logging
import pathlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import orjson
import prometheus_client
from aiohttp import web

from data.base import pages
from data.base.errors import UserError
from data.decoding.images import BadImageError, encode_png, read_image
from data.decoding.pictures import picture_of
from data.label_map import LabelMap
from data.writing.objects import is_edge
from models.serving.server.batching import Answer, Batcher, BusyError
from models.serving.server.examples import Example
from models.serving.server.follower import Follower
from models.serving.server.metrics import Metrics
from models.serving.server.requests import (
    BadRequestError,
    PredictRequest,
    TooManyPixelsError,
    image_sizes,
    read_request,
)
from models.serving.traffic.keeping import Keeper

_LOG = logging.getLogger("segpipe.model_server")
_PAGE = pathlib.Path(__file__).with_name("page.html")
# Says which version answered.
VERSION_HEADER = "Model-Version"
# Of a server that keeps requests: ties an answer to what was kept.
ID_HEADER = "X-Request-Id"


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much of the server one client may use.

    Attributes:
      max_body_megabytes: size of a request, in 10⁶ bytes.
      max_pixels: pixels in an image.
      max_request_pixels: pixels in all images of a request, and in those that go through the model at once.
      max_instances: images in a request.
      max_batch: images that go through the model at once.
      max_waiting: requests that may wait for the model.
      receive_seconds: time for a client to send its request.
      answer_seconds: time from then to the answer.
    """

    max_body_megabytes: float = 32.0
    max_pixels: int = 25_000_000
    max_request_pixels: int = 100_000_000
    max_instances: int = 64
    max_batch: int = 16
    max_waiting: int = 128
    receive_seconds: float = 30.0
    answer_seconds: float = 60.0


class ModelServer:
    """An aiohttp application that answers with a model.

    Args:
      follower: keeps the model.
      name: the model's name in the paths.
      limits: limits on requests.
      examples: images that the page offers to everyone.
      keeper: keeps requests, if any are to be kept.
    """

    def __init__(
        self,
        follower: Follower,
        name: str = "segpipe",
        limits: Limits | None = None,
        examples: Sequence[Example] = (),
        keeper: Keeper | None = None,
    ):
        self.follower, self._name, self._limits, self._examples = follower, name, limits or Limits(), examples
        self._keeper = keeper
        self._page_text = pages.template(_PAGE).render(name=name)
        self._metrics = Metrics(lambda: self.batcher.waiting, lambda: follower.model, keeper.metrics if keeper else ())
        self.batcher = Batcher(
            lambda: follower.model,
            self._limits.max_batch,
            self._limits.max_request_pixels,
            self._limits.max_waiting,
            self._metrics.batch.observe,
        )
        # Connections that have not yet sent the whole head of a request.
        self._silent: set[Any] = set()
        self.application = web.Application(
            middlewares=[self._errors], client_max_size=int(self._limits.max_body_megabytes * 1e6)
        )
        model = f"/v1/models/{name}"
        self.application.add_routes(
            [
                web.get("/", self._page),
                web.get("/healthz", self._health),
                web.get("/metrics", self._prometheus),
                web.get(f"{model}/facts", self._facts),
                web.get(f"{model}/examples/{{number:[0-9]+}}", self._example),
                *(
                    route
                    for path in (model, f"{model}/versions/{{version:[0-9]+}}")
                    for route in (
                        web.get(path, self._status),
                        web.get(f"{path}/metadata", self._metadata),
                        web.post(f"{path}:predict", self._predict),
                        web.post(f"{path}:read", self._read),
                        web.post(f"{path}:show", self._show),
                    )
                ),
            ]
        )
        self.application.cleanup_ctx.append(self._batching)

    async def _batching(self, _: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self.batcher.run())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def protocol(self, runner: web.AppRunner) -> asyncio.Protocol:
        """aiohttp's protocol, but closed if the head of a request is not complete in time."""
        assert runner.server is not None
        connection = runner.server()

        self._silent.add(connection)

        def close_if_silent() -> None:
            if connection in self._silent:
                self._silent.remove(connection)
                connection.force_close()

        asyncio.get_running_loop().call_later(self._limits.receive_seconds, close_if_silent)
        return connection

    @web.middleware
    async def _errors(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Answers every error as TF Serving does, and counts predictions."""
        self._silent.discard(request.protocol)
        started = time.monotonic()
        try:
            response = await handler(request)
        except web.HTTPRequestEntityTooLarge:
            limit = f"{self._limits.max_body_megabytes:g} MB"
            response = _error(413, f"the request is larger than {limit}, the limit of --max-body-megabytes")
        except web.HTTPException as error:
            response = _error(error.status, f"{error.reason}: {request.method} {request.path}", error.headers)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            _LOG.exception("%s %s", request.method, request.path)
            response = _error(500, "internal error; see the server's log")
        if request.path.endswith((":predict", ":show")):
            self._metrics.requests.labels(response.status).inc()
            self._metrics.seconds.observe(time.monotonic() - started)
        return response

    async def _page(self, _: web.Request) -> web.Response:
        # The page needs nothing but itself and this server.
        inline = "style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"
        policy = f"default-src 'none'; connect-src 'self'; {inline}"
        return web.Response(text=self._page_text, content_type="text/html", headers={"Content-Security-Policy": policy})

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _prometheus(self, _: web.Request) -> web.Response:
        body = prometheus_client.generate_latest(self._metrics.registry)
        return web.Response(body=body, headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST})

    async def _facts(self, _: web.Request) -> web.Response:
        """What clients need to interpret the maps: classes with their colors, and how images were resized."""
        facts = self.follower.model.facts
        classes = [label.model_dump() for label in LabelMap.model_validate(facts["label_map"]).classes]
        return _json(
            {
                "classes": classes,
                "preprocessing": facts["preprocessing"],
                "takes_pictures": self.follower.model.input.image_type.is_usual,
                "version": self.follower.model.version,
                "runtime": self.follower.model.runtime.name,
                "examples": [{"name": example.name, "small": example.small} for example in self._examples],
            }
        )

    async def _example(self, request: web.Request) -> web.Response:
        """An example, as `_read` answers with a file."""
        number = int(request.match_info["number"])
        if number >= len(self._examples):
            raise web.HTTPNotFound(reason=f"There are {len(self._examples)} examples")
        encoded = self._examples[number].encoded
        try:
            body = await asyncio.to_thread(lambda: self._with_picture(encoded))
        except BadImageError as error:  # A version that takes other images was pushed since.
            return _error(400, str(error))
        return web.Response(body=body, content_type="application/json")

    def _with_picture(self, encoded: bytes) -> bytes:
        """An image as the model takes it, and as people see it."""
        shape = self.follower.model.input
        shown = encode_png(np.ascontiguousarray(picture_of(encoded, shape.band_names, shape.nodata)))
        parts = (("b64", encoded), ("png", shown))
        return orjson.dumps({name: base64.b64encode(content).decode() for name, content in parts})

    def _check_version(self, request: web.Request) -> None:
        wanted = request.match_info.get("version")
        if wanted is not None and int(wanted) != self.follower.model.version:
            raise web.HTTPNotFound(reason=f"Version {wanted} is not served; version {self.follower.model.version} is")

    async def _status(self, request: web.Request) -> web.Response:
        self._check_version(request)
        status = {"error_code": "OK", "error_message": ""}
        version = {"version": str(self.follower.model.version), "state": "AVAILABLE", "status": status}
        return _json({"model_version_status": [version]})

    async def _metadata(self, request: web.Request) -> web.Response:
        self._check_version(request)
        model = self.follower.model
        return _json(
            {
                "model_spec": {"name": self._name, "signature_name": "", "version": str(model.version)},
                "metadata": {"signature_def": {"signature_def": model.signature_definitions()}},
            }
        )

    async def _receive(self, request: web.Request) -> bytes | web.Response:
        """The body of a request, or an error if it does not come in time."""
        try:
            return await asyncio.wait_for(request.read(), self._limits.receive_seconds)
        except asyncio.TimeoutError:
            response = _error(408, f"the request did not arrive within {self._limits.receive_seconds:g} s")
            response.force_close()
            return response

    async def _read(self, request: web.Request) -> web.Response:
        """A file that browsers cannot read, as the model takes it and as people see it, for the page."""
        self._check_version(request)
        body = await self._receive(request)
        if not isinstance(body, bytes):
            return body

        def read() -> bytes:
            return self._with_picture(read_image(body, None, self._limits.max_pixels).encoded)

        try:
            return web.Response(body=await asyncio.to_thread(read), content_type="application/json")
        except BadImageError as error:
            return _error(400, str(error))

    async def _predict(self, request: web.Request) -> web.Response:
        self._check_version(request)
        body = await self._receive(request)
        if not isinstance(body, bytes):
            return body
        return await self._answer(
            lambda: read_request(body, self._limits.max_instances),
            lambda answer, wanted: _encode(answer, wanted.by_rows),
        )

    async def _show(self, request: web.Request) -> web.Response:
        """An image's segmentation at its own size, in few bytes, for the page."""
        self._check_version(request)
        body = await self._receive(request)
        if not isinstance(body, bytes):
            return body
        wanted = PredictRequest([body], by_rows=True, at_original_size=True)
        return await self._answer(lambda: wanted, lambda answer, _: _shown(answer))

    async def _answer(
        self, read: Callable[[], PredictRequest], encode: Callable[[Answer, PredictRequest], bytes]
    ) -> web.Response:
        try:
            wanted = read()
            shape = self.follower.model.input
            max_bands = 0 if shape.is_usual else max(shape.num_bands, shape.num_channels)
            sizes = image_sizes(wanted.images, self._limits.max_pixels, self._limits.max_request_pixels, max_bands)
            answer = await asyncio.wait_for(
                self.batcher.segment(wanted.images, sizes, wanted.at_original_size), self._limits.answer_seconds
            )
        except TooManyPixelsError as error:
            return _error(413, str(error))
        except (BadRequestError, BadImageError) as error:
            return _error(400, str(error))
        except BusyError:
            return _error(503, "too many requests are waiting; try again", {"Retry-After": "1"})
        except asyncio.TimeoutError:
            return _error(504, f"no answer within {self._limits.answer_seconds:g} s")
        # Not on the event loop, which others wait for.
        text = await asyncio.to_thread(encode, answer, wanted)
        headers = {VERSION_HEADER: str(answer.model.version)}
        if self._keeper:
            headers[ID_HEADER] = self._keeper.offer(wanted.images, sizes, answer)
        return web.Response(body=text, content_type="application/json", headers=headers)


def _encode(answer: Answer, by_rows: bool) -> bytes:
    rows = [item.outputs() for item in answer.segmentations]
    content: dict[str, Any] = {"predictions": rows}
    if not by_rows:
        content = {"outputs": {name: [row[name] for row in rows] for name in rows[0]}}
    # orjson takes contiguous arrays only; what was cut from a larger map is not contiguous.
    return orjson.dumps(content, default=lambda array: array.tolist(), option=orjson.OPT_SERIALIZE_NUMPY)


def _shown(answer: Answer) -> bytes:
    """Of the only image: class ids and edges of objects as PNG files in base64, and what there is of each class."""
    (found,) = answer.segmentations
    names = answer.model.label_map.names
    shares = np.bincount(found.class_ids.ravel(), minlength=len(names)) / found.class_ids.size
    content = {
        "class_ids": base64.b64encode(encode_png(found.class_ids)).decode(),
        "shares": dict(zip(names, shares.tolist(), strict=True)),
        "confidence": float(found.confidence.mean(dtype=np.float64)),
    }
    if found.objects is not None:
        edges = is_edge(found.objects.numbers).astype(np.uint8)
        content["edges"] = base64.b64encode(encode_png(edges)).decode()
        content["objects"] = found.objects.counts(answer.model.label_map)
    return orjson.dumps(content)


def _json(content: dict[str, Any]) -> web.Response:
    return web.Response(body=orjson.dumps(content), content_type="application/json")


def _error(status: int, message: str, headers: Any = None) -> web.Response:
    kept = {key: value for key, value in (headers or {}).items() if key in ("Allow", "Retry-After")}
    body = orjson.dumps({"error": message})
    return web.Response(status=status, body=body, content_type="application/json", headers=kept)


async def serve(server: ModelServer, host: str, port: int, ready: Callable[[int], None]) -> None:
    """Serves until SIGTERM or SIGINT, then finishes the requests in progress.

    Args:
      server: what to serve.
      host: address to listen on.
      port: port to listen on; 0 takes a free one.
      ready: called with the port once requests are answered.

    Raises:
      UserError: if the server cannot listen there.
    """
    loop = asyncio.get_running_loop()
    runner = web.AppRunner(
        server.application,
        access_log=None,
        shutdown_timeout=60.0,
        # A client that is turned away may go on sending for a second; otherwise it would not read why.
        lingering_time=1.0,
        # For a client that has gone, nothing is computed.
        handler_cancellation=True,
    )
    await runner.setup()
    try:
        listening = await loop.create_server(lambda: server.protocol(runner), host, port)
    except OSError as error:
        await runner.cleanup()
        raise UserError(f"cannot listen on {host}:{port}: {error.strerror}; choose another port with --port") from None
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    ready(listening.sockets[0].getsockname()[1])
    await stop.wait()
    listening.close()
    await runner.cleanup()
    server.follower.stop()
