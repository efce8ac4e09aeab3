"""Answers concurrent requests together: those that wait while the model is busy become the next batch."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from data.decoding.images import BadImageError
from models.serving.loaded_model import LoadedModel, Segmentation


class BusyError(Exception):
    """More requests are waiting than the server allows."""


@dataclasses.dataclass
class Answer:
    """The answer to one request, from one version of the model."""

    model: LoadedModel
    segmentations: list[Segmentation]


@dataclasses.dataclass(eq=False)
class _Request:
    images: Sequence[bytes]
    sizes: Sequence[tuple[int, int]]
    at_original_size: bool
    # Done before there is an answer if nobody waits for it any more.
    answer: asyncio.Future[Answer]
    # By image, as they come from the model.
    found: dict[int, Segmentation] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _Image:
    request: _Request
    index: int

    @property
    def size(self) -> tuple[int, int]:
        return self.request.sizes[self.index]


class Batcher:
    """Hands the images of all waiting requests to the model at once.

    Nothing waits for a batch to fill: a request that comes alone is answered immediately. What nobody waits for any
    more, because the time is up or the client has gone, does not go through the model; a batch that is in the model
    already cannot be stopped.

    Args:
      current_model: returns the model to answer with.
      max_batch: images that go through the model at once; one where maps have the images' own sizes.
      max_batch_pixels: pixels of these images, unless there is only one.
      max_waiting: requests that may wait.
      observe: called with the number of images in each batch.
    """

    def __init__(
        self,
        current_model: Callable[[], LoadedModel],
        max_batch: int,
        max_batch_pixels: int,
        max_waiting: int,
        observe: Callable[[int], None],
    ):
        self._current_model, self._observe = current_model, observe
        self._max_batch, self._max_batch_pixels, self._max_waiting = max_batch, max_batch_pixels, max_waiting
        self._queue: collections.deque[_Request] = collections.deque()
        self._has_come = asyncio.Event()
        # One call at a time, for which TensorFlow uses all cores.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    @property
    def waiting(self) -> int:
        """Requests that are not in a batch yet."""
        return len(self._queue)

    async def segment(
        self, images: Sequence[bytes], sizes: Sequence[tuple[int, int]], at_original_size: bool = False
    ) -> Answer:
        """Segments the images of one request; if this is canceled, what is left of them is not computed.

        Args:
          images: as `LoadedModel.segment` takes them.
          sizes: likewise.
          at_original_size: likewise.

        Raises:
          BusyError: if too many requests are waiting.
          BadImageError: if one of its images cannot be decoded.
        """
        if len(self._queue) >= self._max_waiting:
            raise BusyError
        request = _Request(images, sizes, at_original_size, asyncio.get_running_loop().create_future())
        self._queue.append(request)
        self._has_come.set()
        try:
            return await request.answer
        finally:
            # If it was canceled while it waited, its place is free again.
            if request in self._queue:
                self._queue.remove(request)

    async def run(self) -> None:
        """Answers requests until it is canceled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._has_come.wait()
            self._has_come.clear()
            while self._queue:
                requests = [self._queue.popleft()]
                while self._queue and sum(len(item.images) for item in requests) < self._max_batch:
                    requests.append(self._queue.popleft())
                await loop.run_in_executor(self._thread, self._answer, requests, loop)

    def _answer(self, requests: list[_Request], loop: asyncio.AbstractEventLoop) -> None:
        model = self._current_model()
        images = [_Image(request, index) for request in requests for index in range(len(request.images))]
        for batch in self._batches(images, model.keeps_size):
            self._segment(model, batch, loop)

    def _batches(self, images: list[_Image], keeps_size: bool) -> Iterator[list[_Image]]:
        batch: list[_Image] = []
        pixels = 0
        for image in images:
            height, width = image.size
            # Such an answer is as large as the image, and a batch's has the size of the largest.
            is_alone = keeps_size or image.request.at_original_size
            most = 1 if is_alone or (batch and batch[0].request.at_original_size) else self._max_batch
            if batch and (len(batch) >= most or pixels + height * width > self._max_batch_pixels):
                yield batch
                batch, pixels = [], 0
            batch.append(image)
            pixels += height * width
        yield batch

    def _segment(self, model: LoadedModel, batch: list[_Image], loop: asyncio.AbstractEventLoop) -> None:
        batch = [image for image in batch if not image.request.answer.done()]
        if not batch:
            return
        self._observe(len(batch))
        try:
            found = model.segment(
                [image.request.images[image.index] for image in batch],
                [item.size for item in batch],
                batch[0].request.at_original_size,
            )
        except Exception as error:
            if len(batch) > 1:
                # One by one, so that only the faulty ones fail, and by their own names.
                for image in batch:
                    self._segment(model, [image], loop)
                return
            (image,) = batch
            if isinstance(error, BadImageError) and len(image.request.images) > 1:
                error = BadImageError(f"image {image.index + 1} of {len(image.request.images)}: {error}")
            loop.call_soon_threadsafe(_fail, image.request.answer, error)
            return
        for image, segmentation in zip(batch, found, strict=True):
            image.request.found[image.index] = segmentation
            if len(image.request.found) == len(image.request.images):
                segmentations = [image.request.found[index] for index in range(len(image.request.images))]
                loop.call_soon_threadsafe(_finish, image.request.answer, Answer(model, segmentations))


def _finish(future: asyncio.Future[Answer], answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)


def _fail(future: asyncio.Future[Answer], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
