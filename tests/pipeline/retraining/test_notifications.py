import http.server
import json
import sys
import threading

import pydantic
import pytest

from data.base.secret import Secret
from pipeline.retraining.notifications import notify
from pipeline.retraining.settings import NotifySettings

SUMMARY = {"pipeline": "small", "state": "pushed", "mean_iou": 0.5}
WRITE = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"


@pytest.fixture
def webhook():
    """The URL of a server that keeps what it gets, with the status that it answers."""
    got, answer = [], {"status": 200}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, self.headers["Content-Type"], self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answer["status"])
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/key-7", got, answer
    server.shutdown()
    server.server_close()


def test_command_and_webhook_get_the_summary(webhook, tmp_path, monkeypatch):
    url, got, _ = webhook
    (tmp_path / "url").write_text(url + "\n")
    settings = NotifySettings(
        command=[sys.executable, "-c", WRITE, str(tmp_path / "summary")], webhook=Secret(file=str(tmp_path / "url"))
    )
    assert notify(settings, SUMMARY) == []
    assert json.loads((tmp_path / "summary").read_text()) == SUMMARY
    assert [(path, kind, json.loads(body)) for path, kind, body in got] == [("/key-7", "application/json", SUMMARY)]


def test_only_states_that_are_asked_for_are_notified():
    settings = NotifySettings(command=["false"], states=["failed"])
    called = ["notify.command false: exit code 1: no message"]
    assert notify(settings, SUMMARY) == []
    assert notify(settings, {**SUMMARY, "state": "failed"}) == called
    # Who wants to know of each push learns of one after which something failed.
    settings = NotifySettings(command=["false"], states=["pushed"])
    assert notify(settings, {**SUMMARY, "state": "failed", "has_pushed": False}) == []
    assert notify(settings, {**SUMMARY, "state": "failed", "has_pushed": True}) == called


def test_problems_are_named_without_the_url(webhook, monkeypatch):
    url, _, answer = webhook
    monkeypatch.setenv("HOOK", url)
    settings = NotifySettings(webhook=Secret(environment="HOOK"), timeout_seconds=60)
    answer["status"] = 500
    assert notify(settings, SUMMARY) == ["notify.webhook: the server answered 500"]
    for value, problem in (
        ("http://127.0.0.1:1/key-7", "notify.webhook: Connection refused"),
        ("file:///etc/passwd", "notify.webhook: the URL must begin with http:// or https://"),
        ("key-7 is no URL", "notify.webhook: ValueError"),
        ("", "notify.webhook: the environment variable HOOK is not set"),
    ):
        monkeypatch.setenv("HOOK", value)
        assert notify(settings, SUMMARY) == [problem]


@pytest.mark.parametrize(
    ("command", "seconds", "problem"),
    [
        (["no-such-program"], 60, "notify.command no-such-program: No such file or directory"),
        (["sleep", "600"], 0.2, "notify.command sleep: stopped after 0.2 s"),
        (["sh", "-c", "echo away >&2; exit 3"], 60, "notify.command sh: exit code 3: away"),
    ],
)
def test_a_command_that_fails_is_named(command, seconds, problem):
    assert notify(NotifySettings(command=command, timeout_seconds=seconds), SUMMARY) == [problem]


def test_a_secret_is_in_one_place(tmp_path):
    for values in ({}, {"environment": "A", "file": "b"}):
        with pytest.raises(pydantic.ValidationError, match="takes either environment"):
            Secret(**values)
