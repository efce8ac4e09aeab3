"""How many cases, from which seeds, and what all targets have in common."""

from __future__ import annotations

import os
from typing import Any

import hypothesis
from hypothesis import strategies as st

# Of data sets; of hostile inputs of most kinds a tenth. `make test-fuzz` has 20,000.
CASES = int(os.environ.get("FUZZ_CASES", "300"))
# What takes so long hangs, also where other programs compute.
SECONDS = 300


def fuzz(cases: int, *, shrinks: bool = True) -> hypothesis.settings:
    """Settings of a target that gets so many cases: the same ones each time, unless a number is asked for.

    A data set is not made smaller where it fails: that takes minutes, and nearly all of it follows from one number.
    """
    last = hypothesis.Phase.shrink if shrinks else hypothesis.Phase.generate
    return hypothesis.settings(
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate, last],
        max_examples=max(cases, 1),
        derandomize="FUZZ_CASES" not in os.environ,
        database=None,
        deadline=SECONDS * 1000,
        suppress_health_check=list(hypothesis.HealthCheck),
        print_blob=True,
    )


@st.composite
def mutated(draw: Any, samples: list[bytes]) -> bytes:
    """A sample with a few bytes flipped, replaced, cut out, doubled, or taken from another one."""
    content = bytearray(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(1, 6))):
        if not content:
            break
        # What is at the beginning decides most.
        at = draw(st.integers(0, min(len(content) - 1, draw(st.sampled_from([64, len(content)])))))
        kind = draw(st.sampled_from(["flip", "byte", "number", "cut", "truncate", "repeat", "splice", "insert"]))
        if kind == "flip":
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "byte":
            content[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
        elif kind == "number":
            number = draw(st.sampled_from([0, 1, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]))
            content[at : at + 4] = number.to_bytes(4, draw(st.sampled_from(["big", "little"])))
        elif kind == "cut":
            del content[at : at + draw(st.integers(1, 64))]
        elif kind == "truncate":
            del content[at:]
        elif kind == "repeat":
            content[at:at] = content[at : at + draw(st.integers(1, 64))] * draw(st.integers(1, 4))
        elif kind == "splice":
            other = draw(st.sampled_from(samples))
            start = draw(st.integers(0, len(other) - 1))
            content[at : at + 32] = other[start : start + 32]
        else:
            content[at:at] = draw(st.binary(max_size=16))
    return bytes(content)


def check_message(error: object, *parts: object) -> None:
    """The message of an error is one that a user can read, and names one of the parts."""
    text = str(error)
    assert text.strip()
    assert "Traceback" not in text
    assert not parts or any(str(part) in text for part in parts), text
