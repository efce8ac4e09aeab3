import numpy as np

from models.layers.blocks import UpsampleBlock


def test_the_decoder_meets_encoders_that_round_up_or_down():
    for below in (3, 4):
        block = UpsampleBlock(4)
        skip = np.zeros((1, 7, 7, 2), np.float32)
        assert block([np.zeros((1, below, below, 8), np.float32), skip]).shape == (1, 7, 7, 4)
