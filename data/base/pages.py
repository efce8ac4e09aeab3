"""What the pages that segpipe writes have in common: their style, and how their templates are filled."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import jinja2

STYLE_PATH = pathlib.Path(__file__).with_name("style.css")


def template(path: pathlib.Path, **filters: Callable[..., Any]) -> jinja2.Template:
    """A page's template; it takes the style in with `{% include "style.css" %}`.

    What the page says of a value that it is not given is an error.

    Args:
      path: of the template; what else it includes is beside it.
      filters: that it uses, by name.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([path.parent, STYLE_PATH.parent]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(filters)
    return environment.get_template(path.name)
