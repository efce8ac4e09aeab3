"""Answers concurrent requests together: those that wait while the model is busy become the next batch."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from models.serving.server.loaded_model import LoadedModel, Segmentation


class BusyError(Exception):
    """More requests are waiting than the server allows."""


@dataclasses.dataclass
class Answer:
    """The answer to one request, from one version of the model."""

    model: LoadedModel
    segmentations: list[Segmentation]


@dataclasses.dataclass
class _Request:
    images: Sequence[bytes]
    sizes: Sequence[tuple[int, int]]
    answer: asyncio.Future[Answer]


class Batcher:
    """Hands all waiting requests to the model at once.

    Nothing waits for a batch to fill: a request that comes alone is answered immediately.

    Args:
      current_model: returns the model to answer with; called for each batch.
      max_batch: images that go through the model at once.
      max_waiting: requests that may wait.
      observe: called with the number of images in each batch.
    """

    def __init__(
        self,
        current_model: Callable[[], LoadedModel],
        max_batch: int,
        max_waiting: int,
        observe: Callable[[int], None],
    ):
        self._current_model, self._max_batch, self._observe = current_model, max_batch, observe
        self._queue: asyncio.Queue[_Request] = asyncio.Queue(max_waiting)
        # One call at a time, for which TensorFlow uses all cores.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    @property
    def waiting(self) -> int:
        """Requests that are not in a batch yet."""
        return self._queue.qsize()

    async def segment(self, images: Sequence[bytes], sizes: Sequence[tuple[int, int]]) -> Answer:
        """Segments the images of one request.

        Raises:
          BusyError: if too many requests are waiting.
          BadRequestError: if one of its images cannot be decoded.
        """
        request = _Request(images, sizes, asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(request)
        except asyncio.QueueFull:
            raise BusyError from None
        return await request.answer

    async def run(self) -> None:
        """Answers requests until it is canceled."""
        loop = asyncio.get_running_loop()
        while True:
            requests = [await self._queue.get()]
            while not self._queue.empty() and sum(len(item.images) for item in requests) < self._max_batch:
                requests.append(self._queue.get_nowait())
            # Nobody waits for the others any more.
            requests = [request for request in requests if not request.answer.done()]
            if requests:
                await loop.run_in_executor(self._thread, self._answer, requests, loop)

    def _answer(self, requests: list[_Request], loop: asyncio.AbstractEventLoop) -> None:
        model = self._current_model()
        images = [image for request in requests for image in request.images]
        sizes = [size for request in requests for size in request.sizes]
        try:
            segmentations = self._segment(model, images, sizes)
        except Exception as error:
            if len(requests) > 1:
                # One by one, so that only the faulty ones fail.
                for request in requests:
                    self._answer([request], loop)
            else:
                loop.call_soon_threadsafe(_fail, requests[0].answer, error)
            return
        start = 0
        for request in requests:
            answer = Answer(model, segmentations[start : start + len(request.images)])
            start += len(request.images)
            loop.call_soon_threadsafe(_finish, request.answer, answer)

    def _segment(self, model: LoadedModel, images: list[bytes], sizes: list[tuple[int, int]]) -> list[Segmentation]:
        segmentations: list[Segmentation] = []
        for start in range(0, len(images), self._max_batch):
            chunk = slice(start, start + self._max_batch)
            self._observe(len(images[chunk]))
            segmentations += model.segment(images[chunk], sizes[chunk])
        return segmentations


def _finish(future: asyncio.Future[Answer], answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)


def _fail(future: asyncio.Future[Answer], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
