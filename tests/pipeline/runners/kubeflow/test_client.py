"""Against a server on loopback that speaks Kubeflow Pipelines' API by the models of `kfp-server-api`.

It is no Kubeflow: it keeps what it is sent, in memory, and runs nothing.
"""

import datetime
import http.server
import json
import re
import threading
import time
import urllib.parse

import kfp_server_api
import pytest

from data.base.errors import UserError
from pipeline.runners.kubeflow.client import Server

pytestmark = pytest.mark.one_line
PREFIX = "/apis/v2beta1"
PIPELINE = """\
pipelineInfo: {name: brain-mri}
root:
  inputDefinitions:
    parameters:
      epochs: {parameterType: NUMBER_INTEGER, defaultValue: 45}
      min_mean_iou: {parameterType: NUMBER_DOUBLE, defaultValue: 0.8}
"""
MODELS = {name: getattr(kfp_server_api, name) for name in dir(kfp_server_api) if name.startswith("V2beta1")}


def check(body, kind):
    """Each field of a body is one of the model's in the API's description, with a value of its type."""
    model = MODELS[kind]
    types = {model.attribute_map[name]: of for name, of in model.openapi_types.items()}
    for key, value in body.items():
        assert key in types, f"{kind} has no {key}"
        if types[key] in MODELS and isinstance(value, dict):
            check(value, types[key])
        elif types[key] in ("str", "int", "bool"):
            # 64-bit integers are texts in the description; servers take both.
            assert isinstance(value, {"str": (str, int), "int": int, "bool": bool}[types[key]]), (key, value)


class FakeServer(http.server.ThreadingHTTPServer):
    """Keeps pipelines, experiments, runs and recurring runs.

    `refusal` is the answer to everything, if it is set; without a status, connections end without an answer.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.kept, self.refusal, self.count = [], {}, None, 0
        self.host = f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, kind, collection, **fields):
        self.count += 1
        key = {"pipelines": "pipeline_id", "versions": "pipeline_version_id", "experiments": "experiment_id"}
        key |= {"runs": "run_id", "recurring_runs": "recurring_run_id"}
        model = MODELS[kind](**{key[collection]: f"{collection}-{self.count}", **fields})
        self.kept.setdefault(collection, []).append(model)
        return model

    def bodies(self, method, path):
        return [body for found, where, _, body in self.requests if (found, where) == (method, path)]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self._answer("GET")

    def do_POST(self):
        self._answer("POST")

    def do_DELETE(self):
        self._answer("DELETE")

    def log_message(self, *_):
        pass

    def _answer(self, method):
        parts = urllib.parse.urlsplit(self.path)
        path, query = parts.path.removeprefix(PREFIX), dict(urllib.parse.parse_qsl(parts.query))
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_json = "json" in self.headers.get("Content-Type", "")
        body = json.loads(content) if content and is_json else content
        self.server.requests.append((method, path, {**query, "headers": dict(self.headers)}, body))
        status, answer = self.server.refusal or self._route(method, path, query, body)
        if status is None:
            self.close_connection = True
            return
        data = json.dumps(kfp_server_api.ApiClient().sanitize_for_serialization(answer)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _route(self, method, path, query, body):
        server, kept = self.server, self.server.kept
        if path == "/healthz":
            return 200, MODELS["V2beta1GetHealthzResponse"](multi_user=False)
        if path == "/pipelines/upload":
            pipeline = server.add("V2beta1Pipeline", "pipelines", display_name=query["name"])
            server.add("V2beta1PipelineVersion", "versions", pipeline_id=pipeline.pipeline_id)
            return 200, pipeline
        if path == "/pipelines/upload_version":
            return 200, server.add("V2beta1PipelineVersion", "versions", pipeline_id=query["pipelineid"])
        if path == "/pipelines":
            return 200, {"pipelines": kept.get("pipelines", [])}
        match = re.fullmatch("/pipelines/([^/]+)/versions", path)
        if match:
            return 200, {"pipeline_versions": [item for item in kept["versions"] if item.pipeline_id == match[1]]}
        if path == "/experiments" and method == "POST":
            check(body, "V2beta1Experiment")
            return 200, server.add("V2beta1Experiment", "experiments", display_name=body["display_name"])
        if path == "/experiments":
            return 200, {"experiments": kept.get("experiments", [])}
        if path == "/runs" and method == "POST":
            check(body, "V2beta1Run")
            return 200, server.add("V2beta1Run", "runs", **{**body, "state": "PENDING"})
        if path == "/runs":
            # Two pages of them.
            half = len(kept["runs"]) // 2
            page = kept["runs"][half:] if query.get("page_token") else kept["runs"][:half]
            return 200, {"runs": page, "next_page_token": "" if query.get("page_token") else "more"}
        if path == "/recurringruns" and method == "POST":
            check(body, "V2beta1RecurringRun")
            return 200, server.add("V2beta1RecurringRun", "recurring_runs", **{**body, "status": "ENABLED"})
        if path == "/recurringruns":
            return 200, {"recurringRuns": kept.get("recurring_runs", [])}
        match = re.fullmatch("/recurringruns/([^/:]+)(:enable|:disable)?", path)
        if match:
            (found,) = (item for item in kept["recurring_runs"] if item.recurring_run_id == match[1])
            if method == "DELETE":
                kept["recurring_runs"].remove(found)
            else:
                found.status = "ENABLED" if match[2] == ":enable" else "DISABLED"
            return 200, {}
        match = re.fullmatch("/runs/([^/]+)", path)
        if match:
            return 200, next(run for run in kept["runs"] if run.run_id == match[1])
        return 404, {"error": "not found"}


@pytest.fixture
def fake():
    with FakeServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def pipeline(tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE)
    return str(path)


def test_submit_uploads_the_pipeline_then_new_versions_of_it(fake, pipeline):
    server = Server(fake.host)
    first = server.submit(pipeline, {"epochs": "3"}, "tests", root="s3://bucket/root")
    server.submit(pipeline, {}, "tests")
    (upload,) = [query for method, path, query, _ in fake.requests if path == "/pipelines/upload"]
    assert upload["name"] == "brain-mri"
    (content,) = fake.bodies("POST", "/pipelines/upload")
    assert PIPELINE.encode() in content
    (version,) = [query for _, path, query, _ in fake.requests if path == "/pipelines/upload_version"]
    assert version["pipelineid"] == "pipelines-1"
    assert version["name"].startswith("brain-mri 20")
    run, again = fake.bodies("POST", "/runs")
    assert run["display_name"].startswith("brain-mri 20")
    assert run["pipeline_version_reference"] == {"pipeline_id": "pipelines-1", "pipeline_version_id": "versions-2"}
    assert run["runtime_config"] == {"parameters": {"epochs": 3}, "pipeline_root": "s3://bucket/root"}
    assert run["experiment_id"] == fake.kept["experiments"][0].experiment_id
    assert fake.kept["experiments"][0].display_name == "tests"
    newest = fake.kept["versions"][-1].pipeline_version_id
    assert again["pipeline_version_reference"]["pipeline_version_id"] == newest
    assert server.get_run(first).state == "running"


def details(**states):
    listed = [
        kfp_server_api.V2beta1PipelineTaskDetail(display_name=name, state=state)
        for name, state in {"root": "FAILED", "Trainer-driver": "SUCCEEDED", "executor": "FAILED", **states}.items()
    ]
    return kfp_server_api.V2beta1RunDetails(task_details=listed)


@pytest.mark.parametrize(
    ("state", "steps", "expected"),
    [
        ("SUCCEEDED", {"Trainer": "SUCCEEDED", "Verdict": "SUCCEEDED"}, "pushed"),
        ("FAILED", {"Trainer": "SUCCEEDED", "Verdict": "FAILED"}, "refused"),
        ("FAILED", {"Trainer": "FAILED"}, "failed"),
        ("CANCELED", {"Trainer": "CANCELED"}, "canceled"),
    ],
)
def test_wait_shows_each_step_and_what_came_of_the_run(fake, pipeline, state, steps, expected):
    server = Server(fake.host)
    run_id = server.submit(pipeline, {}, "tests")
    run = fake.kept["runs"][0]
    run.state, run.run_details = "RUNNING", details(Trainer="RUNNING")
    run.created_at = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    told = []

    def progress(line):
        told.append(line)
        run.state, run.run_details = state, details(**steps)
        run.finished_at = run.created_at + datetime.timedelta(minutes=2)

    result = server.wait(run_id, progress, seconds=0.01)
    assert told == ["Trainer: running", *(f"{name}: {step.lower()}" for name, step in steps.items())]
    assert (result.state, result.seconds) == (expected, 120)
    assert set(result.steps) == set(steps)


@pytest.mark.parametrize("outage", ["unavailable", "gone"])
def test_wait_survives_an_outage(fake, pipeline, outage):
    server = Server(fake.host)
    run_id = server.submit(pipeline, {}, "tests")
    run = fake.kept["runs"][0]
    run.state, run.run_details = "RUNNING", details(Trainer="RUNNING")
    told = []

    def progress(line):
        told.append(line)
        if line == "Trainer: running":
            fake.refusal = (503, {"error": "no healthy upstream"}) if outage == "unavailable" else (None, None)
        elif "trying again" in line:
            healing.start()
        elif "again" in line:
            run.state = "SUCCEEDED"

    def heal():
        count = len(fake.requests)
        while len(fake.requests) < count + 3:
            time.sleep(0.01)
        fake.refusal = None

    healing = threading.Thread(target=heal)

    assert server.wait(run_id, progress, seconds=0.01).state == "pushed"
    assert told[0] == "Trainer: running"
    assert told[1].startswith(f"{fake.host}")
    assert told[1].endswith("The run goes on; trying again for up to 30 minutes.")
    assert told[2:] == ["The server answers again."]
    healing.join()


@pytest.mark.parametrize(("status", "message"), [(503, "answered 503"), (401, "KF_PIPELINES_TOKEN")])
def test_whoever_no_longer_waits_learns_that_the_run_goes_on(fake, pipeline, status, message):
    server = Server(fake.host, namespace="team")
    run_id = server.submit(pipeline, {}, "tests")
    fake.refusal = (status, {"error": "no"})
    told = []
    with pytest.raises(UserError, match=message) as caught:
        server.wait(run_id, told.append, seconds=0.01, patience=0.05)
    assert f"Run {run_id} goes on without this command; `segpipe runs --host {fake.host} --namespace team`" in str(
        caught.value
    )
    # Only what may end by itself is waited for.
    assert len(told) == (1 if status == 503 else 0)


def test_runs_of_a_pipeline_are_listed_from_all_pages(fake, pipeline, tmp_path):
    server = Server(fake.host)
    other = tmp_path / "other.yaml"
    other.write_text(PIPELINE.replace("brain-mri", "other"))
    ids = [server.submit(str(path), {}, "tests") for path in (pipeline, other, pipeline)]
    assert [run.run_id for run in server.list_runs("brain-mri")] == [ids[0], ids[2]]
    assert len(server.list_runs()) == 3
    assert server.list_runs("unknown") == []


def test_a_schedule_runs_one_at_a_time_and_skips_missed_runs(fake, pipeline):
    server = Server(fake.host)
    server.schedule(pipeline, {"epochs": 20}, "tests", "weekly", cron="0 0 3 * * 1")
    (body,) = fake.bodies("POST", "/recurringruns")
    assert body["display_name"] == "weekly"
    assert body["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1"}}
    assert int(body["max_concurrency"]) == 1
    assert body["no_catchup"] is True
    assert body["mode"] == "ENABLE"
    assert body["runtime_config"] == {"parameters": {"epochs": 20}}
    assert body["pipeline_version_reference"]["pipeline_id"] == "pipelines-1"


def test_a_schedule_is_replaced_paused_resumed_and_deleted(fake, pipeline):
    server = Server(fake.host)
    server.schedule(pipeline, {}, "tests", "weekly", cron="0 0 3 * * 1")
    server.schedule(pipeline, {}, "tests", "weekly", every_seconds=3600)
    (schedule,) = server.list_schedules()
    assert (schedule.name, schedule.trigger, schedule.is_enabled) == ("weekly", "every 3600 s", True)
    server.pause("weekly")
    assert not server.list_schedules()[0].is_enabled
    server.resume("weekly")
    assert server.list_schedules()[0].is_enabled
    server.delete("weekly")
    assert server.list_schedules() == []
    with pytest.raises(UserError, match="no schedule is called weekly"):
        server.pause("weekly")


def test_a_token_and_a_cookie_are_sent(fake, monkeypatch):
    monkeypatch.setenv("KF_PIPELINES_TOKEN", "secret-token")
    monkeypatch.setenv("KF_PIPELINES_COOKIE", "session=secret")
    Server(fake.host)
    headers = {name.lower(): value for name, value in fake.requests[-1][2]["headers"].items()}
    assert headers["authorization"] == "Bearer secret-token"
    assert headers["cookie"] == "session=secret"


@pytest.mark.parametrize(
    ("status", "message"), [(401, "KF_PIPELINES_TOKEN"), (403, "--namespace"), (404, "older"), (500, "answered 500")]
)
def test_a_refusal_is_explained(fake, status, message):
    fake.refusal = (status, {"error": "no"})
    with pytest.raises(UserError, match=message):
        Server(fake.host)


def test_a_server_that_is_not_there_is_named(segpipe, pipeline):
    result = segpipe("submit", pipeline, "--host", "http://127.0.0.1:1")
    assert result.returncode == 1
    assert "http://127.0.0.1:1 cannot be reached" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_commands_submit_and_schedule(fake, pipeline, segpipe):
    submitted = segpipe("submit", pipeline, "--host", fake.host, "--parameter", "epochs=5e0")
    assert submitted.returncode == 0, submitted.stderr
    assert fake.bodies("POST", "/runs")[0]["runtime_config"] == {"parameters": {"epochs": 5}}
    created = segpipe("schedule", "create", pipeline, "--host", fake.host, "--every", "7d")
    assert created.returncode == 0, created.stderr
    assert fake.bodies("POST", "/recurringruns")[0]["trigger"] == {"periodic_schedule": {"interval_second": 604800}}
    assert "brain-mri" in segpipe("schedule", "list", "--host", fake.host).stdout
    listed = segpipe("runs", "--host", fake.host, "--json").stdout.splitlines()
    assert [json.loads(line)["run_id"] for line in listed] == [run.run_id for run in fake.kept["runs"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("submit", "{}", "--parameter", "epoch=1"), "no parameter epoch; it has epochs, min_mean_iou"),
        (("submit", "{}", "--parameter", "epochs=many"), "epochs takes a whole number; got many"),
        (("submit", "{}", "--parameter", "epochs"), "takes NAME=VALUE"),
        (("submit", "nowhere.yaml"), "cannot read the pipeline nowhere.yaml"),
        (("submit", "setup.py"), "setup.py is not a compiled pipeline"),
        (("schedule", "create", "{}", "--every", "soon"), "takes a number and m, h or d"),
        (("schedule", "create", "{}", "--cron", "* * *"), "takes six fields"),
        (("schedule", "create", "{}"), "give --cron or --every"),
    ],
)
def test_mistakes_are_reported_before_anything_is_sent(fake, pipeline, segpipe, arguments, message):
    result = segpipe(*(argument.format(pipeline) for argument in arguments), "--host", fake.host)
    assert result.returncode == 1
    assert message in result.stderr
    assert fake.requests == []
