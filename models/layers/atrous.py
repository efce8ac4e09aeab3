"""A dilated convolution that is fast on CPUs too."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("segpipe")
class AtrousConv2D(keras.layers.Conv2D):
    """A dilated, padded Conv2D without strides, with a kernel of odd size.

    [batch, height, width, any] → [batch, height, width, filters].
    """

    # For dilation Keras calls tf.nn.convolution, which sorts maps into rate² times as many smaller ones: on a CPU, at a
    # rate of 18, that takes a hundred times as long. TensorFlow's own dilation has no gradient on many CPUs. So this
    # applies each point of the kernel to the whole map, all in one 1×1 convolution, and adds up the shifted results.
    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        height, width = inputs.shape[1:3]
        rows, columns = (
            [(point, offset) for point in range(points) if abs(offset := (point - points // 2) * rate) < size]
            for points, rate, size in zip(self.kernel_size, self.dilation_rate, (height, width), strict=True)
        )
        offsets = [(down, right) for _, down in rows for _, right in columns]
        kernels = [kernel[row, column] for row, _ in rows for column, _ in columns]
        all_kernels = keras.ops.concatenate(kernels, axis=-1)[None, None]
        products = keras.ops.split(keras.ops.conv(inputs, all_kernels, padding="same"), len(kernels), axis=-1)
        outputs = None
        for (down, right), product in zip(offsets, products, strict=True):
            inside = product[:, max(down, 0) : height + down, max(right, 0) : width + right]
            paddings = [[max(-down, 0), max(down, 0)], [max(-right, 0), max(right, 0)]]
            shifted = keras.ops.pad(inside, [[0, 0], *paddings, [0, 0]])
            outputs = shifted if outputs is None else outputs + shifted
        return outputs
