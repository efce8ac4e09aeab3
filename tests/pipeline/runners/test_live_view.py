import logging

import pytest
from rich.console import Console

from pipeline.runners.live_view import LiveView

WARNING = "2 pair(s) of images look alike:\n  train a, test b\nleave one of them out"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_warnings_stay_and_other_messages_do_not(tmp_path, is_terminal):
    shown = tmp_path / "shown"
    log = logging.getLogger("segpipe.data_gate")
    with open(shown, "w") as file, LiveView(Console(file=file, force_terminal=is_terminal), ["DataGate"]) as view:
        view.start("DataGate")
        log.warning("%s", WARNING)
        logging.getLogger("somebody.else").warning("not ours")
        log.setLevel(logging.INFO)
        log.info("%d examples", 5)
        log.info("%d examples", 6)
        view.end("done")
    text = shown.read_text()
    assert f"DataGate: warning: {WARNING}\n" in text
    assert "not ours" not in text
    assert is_terminal or "DataGate: 5 examples\n" in text, "the first says that the component is at work"
    assert ("6 examples" in text) == is_terminal, "in the table, or a line after ten seconds"
