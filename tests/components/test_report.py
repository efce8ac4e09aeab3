"""What the report says of groups of images."""

import numpy as np

from components.report.content import _groups


def test_the_worst_group_comes_first_and_one_without_labels_last():
    totals = np.zeros([3, 3, 2], np.int64)
    totals[0], totals[2] = [[3, 3], [4, 4], [4, 4]], [[1, 3], [4, 4], [4, 4]]
    found = _groups({"group_names": np.array([b"p1", b"p2", "p3 ü".encode()]), "group_totals": totals})
    assert [group["name"] for group in found] == ["p3 ü", "p1", "p2"]
    assert found[1] == {"name": "p1", "iou": 0.6, "dice": 0.75}
    assert found[2] == {"name": "p2", "iou": None, "dice": None}
    assert _groups({}) == []
