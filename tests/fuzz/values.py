"""Values of any kind, as YAML and JSON hold them."""

from hypothesis import strategies as st

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.dates(), st.just("${HOME}"),
    st.sampled_from(["../..", "/etc/passwd", "a\0b", "x" * 5000, "{SPAN}{SPAN}", "!!python/object:os.system", "~"]),
    st.sampled_from(["1e1", "0x10", "1_000", "1.", ".5", "+3", "010", "1e400", "nan", "true", "a.b", "train", "255"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
