"""Reading YAML that people write: values as YAML 1.2 has them, names as they are written."""

from __future__ import annotations

import re
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """PyYAML's loader without the surprises of YAML 1.1.

    To YAML 1.1, `no` is false, `1e-3` is text, `010` is 8, `1:30` is 90, and `2026-11-23` is a date. Here `1e-3` is a
    number, `010` is 10, and the others are text. Names are always text: `no`, `1` and `traffic.light` in front of a
    colon are what classes may be called.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        names = set()
        for name, _ in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise yaml.composer.ComposerError(None, None, "a name must be text", name.start_mark)
            if name.value in names:
                problem = f"{name.value} is there twice; remove one of the two"
                raise yaml.composer.ComposerError(None, None, problem, name.start_mark)
            names.add(name.value)
            if name.tag != "tag:yaml.org,2002:merge":
                name.tag = "tag:yaml.org,2002:str"
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = node.value.replace("_", "")
        return int(text, 0) if re.match("[-+]?0[ox]", text) else int(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9][0-9_]*|0o[0-7_]+|0x[0-9a-fA-F_]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9][0-9_]*|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", "<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)


def read_yaml(text: str) -> Any:
    """Reads a document.

    Raises:
      ValueError: if it is not YAML, or a mapping has a name twice; the message says where.
    """
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
