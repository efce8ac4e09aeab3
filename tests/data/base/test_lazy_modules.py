import json
import subprocess
import sys

import pytest

from data.base.lazy_modules import SELDOM_USED

pytestmark = pytest.mark.one_line
_SCRIPT = """
import json, sys
from data.base.lazy_modules import SELDOM_USED, load_lazily
load_lazily()
waiting = set()
for heavy in ("keras", "pipeline.runners.local"):
    __import__(heavy)
    waiting |= {name for name in SELDOM_USED if type(sys.modules.get(name)).__name__ == "_LazyModule"}
loaded = [name for name in SELDOM_USED if dir(sys.modules[name]) and type(sys.modules[name]).__name__ == "module"]
print(json.dumps([sorted(waiting), len(loaded)]))
"""


def test_importing_loads_none_of_them_and_each_is_there_once_it_is_used():
    # A name that nobody imports any more, or that all load at once, has no place in the list.
    printed = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True)
    waiting, loaded = json.loads(printed.stdout.splitlines()[-1])
    assert set(waiting) == SELDOM_USED
    assert loaded == len(SELDOM_USED)
