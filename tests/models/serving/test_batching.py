"""What nobody waits for is not computed; with a real model that is slowed down."""

import asyncio
import functools
import io
import json
import signal
import time
import types

import aiohttp
import numpy as np
import pytest
from PIL import Image

from models.serving.loaded_model import LoadedModel
from models.serving.server.batching import Batcher, BusyError
from models.serving.server.server import Limits, ModelServer, serve
from tests.models.serving.test_requests import text

pytestmark = pytest.mark.one_line
SECONDS = 0.2


class SlowModel(LoadedModel):
    """Notes what it is asked."""

    def __init__(self, folder):
        self.calls, self.delay = [], 0.0
        super().__init__(str(folder), 1)
        self.calls, self.delay = [], SECONDS

    def segment(self, images, sizes, at_original_size=False):
        self.calls.append(list(sizes))
        time.sleep(self.delay)
        return super().segment(images, sizes, at_original_size)


def png(height, width=20):
    buffer = io.BytesIO()
    Image.fromarray(np.full([height, width, 3], 200, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def body(count):
    return json.dumps({"instances": [{"b64": text(png(20))}] * count})


def batcher(model, **limits):
    return Batcher(
        lambda: model,
        **{"max_batch": 16, "max_batch_pixels": 10**6, "max_waiting": 8, "observe": lambda count: None, **limits},
    )


@pytest.fixture
def slow_tiled(tiled):
    return SlowModel(tiled)


@pytest.fixture
def slow(tmp_path, push):
    push(tmp_path / "serving", 1, 1)
    return SlowModel(tmp_path / "serving" / "1")


def while_running(started, job):
    """Runs a coroutine while the batcher answers."""

    async def run():
        running = asyncio.create_task(started.run())
        try:
            return await job()
        finally:
            running.cancel()

    return asyncio.run(run())


def test_images_at_their_own_size_go_one_by_one_and_others_within_a_bound_of_pixels(slow, slow_tiled):
    sizes = [(20, 20), (30, 20), (40, 20), (5, 20)]
    images = [png(*size) for size in sizes]
    for model, at_original_size, expected, shapes in (
        (slow_tiled, False, [1, 1, 1, 1], sizes),
        (slow, False, [2, 2], [(16, 16)] * 4),
        (slow, True, [1, 1, 1, 1], sizes),
    ):
        model.calls.clear()
        started = batcher(model, max_batch_pixels=1000)
        segment = functools.partial(started.segment, images, sizes, at_original_size)
        answer = while_running(started, segment)
        assert [len(call) for call in model.calls] == expected
        assert [item.class_ids.shape for item in answer.segmentations] == shapes


def test_what_was_canceled_while_it_waited_frees_its_place_and_is_not_computed(slow):
    started = batcher(slow, max_batch=1, max_waiting=2)

    async def job():
        tasks = []
        for height in (20, 21, 22):
            tasks.append(asyncio.create_task(started.segment([png(height)], [(height, 20)])))
            await asyncio.sleep(SECONDS / 10)
        with pytest.raises(BusyError):
            await started.segment([png(23)], [(23, 20)])
        tasks[1].cancel()
        await asyncio.sleep(0)
        assert started.waiting == 1
        tasks.append(asyncio.create_task(started.segment([png(24)], [(24, 20)])))
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = while_running(started, job)
    assert [isinstance(answer, BaseException) for answer in answers] == [False, True, False, False]
    assert slow.calls == [[(20, 20)], [(22, 20)], [(24, 20)]]


def test_the_bad_image_of_a_request_is_told_from_the_others(slow):
    images = [png(20), png(20)[:-30], png(20)]
    started = batcher(slow)

    async def job():
        return await asyncio.gather(
            started.segment(images, [(20, 20)] * 3), started.segment([png(20)], [(20, 20)]), return_exceptions=True
        )

    bad, good = while_running(started, job)
    assert str(bad).startswith("image 2 of 3: the image cannot be decoded")
    assert len(good.segmentations) == 1


@pytest.fixture
def serving():
    """Calls a client with the address of a server in this process: `serving(model, client, **limits)`."""

    def run(model, client, **limits):
        follower = types.SimpleNamespace(model=model, stop=lambda: None)

        async def main():
            server, port = ModelServer(follower, limits=Limits(**limits)), asyncio.get_running_loop().create_future()
            task = asyncio.create_task(serve(server, "127.0.0.1", 0, port.set_result))
            address = f"http://127.0.0.1:{await port}/v1/models/segpipe:predict"
            try:
                async with aiohttp.ClientSession() as session:
                    return await client(session, address)
            finally:
                signal.raise_signal(signal.SIGTERM)
                await task

        return asyncio.run(main())

    return run


def test_a_request_whose_time_is_up_is_not_computed_to_its_end(serving, slow_tiled):
    async def client(session, address):
        async with session.post(address, data=body(10)) as answer:
            status = answer.status
        done = len(slow_tiled.calls)
        await asyncio.sleep(4 * SECONDS)
        # The next one need not wait for it.
        async with session.post(address, data=body(1)) as answer:
            return status, answer.status, done

    first, second, done = serving(slow_tiled, client, answer_seconds=2.5 * SECONDS)
    assert (first, second) == (504, 200)
    assert 1 < done < 5
    assert len(slow_tiled.calls) == done + 1


def test_what_a_client_that_has_gone_asked_for_is_not_computed(serving, slow_tiled):
    async def client(session, address):
        with pytest.raises(asyncio.TimeoutError):
            await session.post(address, data=body(10), timeout=aiohttp.ClientTimeout(2.5 * SECONDS))
        done = len(slow_tiled.calls)
        await asyncio.sleep(4 * SECONDS)
        return done

    done = serving(slow_tiled, client)
    assert 1 < done < 5
    assert len(slow_tiled.calls) <= done + 1


def test_too_many_pixels_are_sent_away_before_the_model_sees_them(serving, slow_tiled):
    async def client(session, address):
        async with session.post(address, data=body(3)) as answer:
            return answer.status, (await answer.json())["error"]

    status, message = serving(slow_tiled, client, max_request_pixels=1199)
    assert (status, slow_tiled.calls) == (413, [])
    assert "1200 pixels; the limit is 1199" in message
