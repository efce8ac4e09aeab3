from models.architectures.unet_resnet import build_unet_resnet


def test_parameters_add_up():
    filters, below, expected = 4, 2048, 23_587_712
    for level, skip in ((4, 1024), (3, 512), (2, 256), (1, 64), (0, 1)):
        width = filters * 2**level
        expected += 4 * below * width + width  # 2×2 up-convolution, with biases
        expected += 9 * (width + skip) * width + 9 * width * width + 2 * 4 * width  # two 3×3, with normalization
        below = width
    expected += filters * 5 + 5
    assert build_unet_resnet((65, 97, 1), 5, filters=filters, dtype="float32").count_params() == expected


def test_dropout_is_at_the_two_deepest_levels():
    model = build_unet_resnet((64, 64, 3), 5, filters=4, dropout=0.5, dtype="float32")
    shares = [model.get_layer(f"decoder_{level}").get_config()["dropout"] for level in range(5)]
    assert shares == [0, 0, 0, 0.5, 0.5]
