"""Metadata in MariaDB, with a server that the tests start."""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import pytest
import yaml
from ml_metadata.proto import metadata_store_pb2
from rich.console import Console

from data.base.errors import UserError
from pipeline.records.metadata import database_of
from pipeline.records.runs import load_runs
from pipeline.runners.local import RunFailedError, run_locally
from tests.conftest import unavailable

pytestmark = pytest.mark.one_line
ROOT = pathlib.Path(__file__).parent.parent.parent
PASSWORD = 'not "a\\word'


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


class MariaDb:
    """A MariaDB server on loopback, with its files in a folder."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.settings = {
            "database": "mysql",
            "port": self.port,
            "user": "segpipe",
            "password": {"environment": "DB_PASSWORD"},
        }

    def start(self):
        deadline = time.monotonic() + 60
        self.process = subprocess.Popen(self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while self.sql("SELECT 1", check=False).returncode:
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def stop(self):
        self.process.terminate()
        self.process.wait(60)

    def client(self, program):
        return [program, "--no-defaults", "--user=root", f"--socket={self.folder}/socket"]

    def make(self):
        self.folder.mkdir()
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", f"--datadir={self.folder}/data", "--skip-test-db", self.user(),
             "--auth-root-authentication-method=normal"],
            check=True, capture_output=True,
        )  # fmt: skip
        self.start()
        literal = PASSWORD.replace("\\", "\\\\")
        self.sql(
            f"CREATE USER segpipe@'127.0.0.1' IDENTIFIED BY '{literal}'; GRANT ALL ON segpipe.* TO segpipe@'127.0.0.1'"
        )

    def user(self):
        return f"--user={'root' if os.geteuid() == 0 else os.environ['USER']}"

    def command(self):
        return [
            "mariadbd", "--no-defaults", f"--datadir={self.folder}/data", f"--socket={self.folder}/socket",
            f"--port={self.port}", "--bind-address=127.0.0.1", f"--pid-file={self.folder}/pid", self.user(),
            "--loose-innodb-snapshot-isolation=ON",  # What versions from 11.6 on do by themselves.
        ]  # fmt: skip

    def sql(self, text, check=True):
        return subprocess.run([*self.client("mariadb"), "-e", text], check=check, capture_output=True, text=True)

    def dump(self):
        return subprocess.run([*self.client("mariadb-dump"), "segpipe"], check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if not shutil.which("mariadbd"):
        unavailable("MariaDB, Debian's package mariadb-server")
    made = MariaDb(tmp_path_factory.mktemp("mariadb") / "server")
    made.make()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def _password(monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", PASSWORD)


@pytest.fixture
def config(server, small_config, tmp_path):
    return small_config(
        tmp_path / "output", name=f"pipe-{tmp_path.name[-20:].replace('_', '-')}", metadata=server.settings
    )


def write(config, path):
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return str(path)


@pytest.mark.nightly  # tests/pipeline/records/test_shared_database.py has what they record.
def test_two_checkouts_run_at_once_in_one_database_and_keep_no_password(server, small_config, segpipe, tmp_path):
    quick = {"name": "shared", "metadata": server.settings, "train": {"epochs": 1}}
    configs = [small_config(tmp_path / name, **quick) for name in ("one", "two")]
    paths = [write(config, tmp_path / f"{index}.yaml") for index, config in enumerate(configs)]
    processes = [segpipe.start("run", "--config", path) for path in paths]
    assert [process.wait() for process in processes] == [0, 0]
    runs = {run.output: run for run in load_runs(database_of(configs[0]), "shared")}
    for config in configs:
        assert runs[config.output].state == "pushed"
        assert runs[config.output].pushed_path.startswith(config.output)
        assert runs[config.output].report.startswith(config.output)

    # The other checkout's runs do not count.
    again = run_locally(configs[0], Console(quiet=True))
    assert (again.state, again.pushed_version) == ("unchanged", runs[configs[0].output].pushed_version)
    listed = segpipe("runs", "--config", paths[1])
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.count("pushed") == 2

    forms = [form.encode() for form in (PASSWORD, PASSWORD.replace("\\", "\\\\").replace('"', '\\"'))]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 50
    assert not [path for path in written for form in forms if form in path.read_bytes()]
    assert not [form for form in forms if form in server.dump()]
    assert not [form for form in forms if form in (listed.stdout + listed.stderr).encode()]


_UPDATES = """
import random
import sys
import time

from ml_metadata.proto import metadata_store_pb2

from pipeline.config import load_config
from pipeline.records.metadata import database_of

store = database_of(load_config(sys.argv[1])).open()
pause = time.sleep
time.sleep = lambda seconds: pause(min(seconds, 0.1))  # The other must not have ended after one retry.
print("ready", flush=True)
input()
kind = store.get_execution_type("kind").id
for number in range(200):
    pause(random.random() / 100)
    context = store.get_context_by_type_and_name("kind", "shared")
    store.put_execution(metadata_store_pb2.Execution(type_id=kind), [], [context])
    context.custom_properties["number"].int_value = number
    store.put_contexts([context])
"""


def test_two_clients_that_change_the_same_rows_both_succeed(server, config, tmp_path):
    store = database_of(config).open()
    kind = store.put_context_type(metadata_store_pb2.ContextType(name="kind"))
    number = {"number": metadata_store_pb2.Value(int_value=0)}
    store.put_contexts([metadata_store_pb2.Context(type_id=kind, name="shared", custom_properties=number)])
    store.put_execution_type(metadata_store_pb2.ExecutionType(name="kind"))
    command = [sys.executable, "-c", _UPDATES, write(config, tmp_path / "run.yaml")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(2)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        _, printed = writer.communicate()
        assert writer.returncode == 0, printed[-2000:]
    assert store.get_context_by_type_and_name("kind", "shared").custom_properties["number"].int_value == 199


def test_a_wrong_password_and_a_server_that_is_down_are_named(server, config, segpipe, monkeypatch, tmp_path):
    path = write(config, tmp_path / "run.yaml")
    for command in ("run", "runs"):
        wrong = segpipe(command, "--config", path, DB_PASSWORD="wrong-word")
        assert wrong.returncode == 1
        assert f"database segpipe at 127.0.0.1:{server.port} cannot be used" in wrong.stderr
        assert "Traceback" not in wrong.stderr
        assert "wrong-word" not in wrong.stdout + wrong.stderr
    with monkeypatch.context() as patch:
        patch.setenv("DB_PASSWORD", "")
        with pytest.raises(UserError, match=r"metadata.password: .* DB_PASSWORD is not set"):
            run_locally(config, Console(quiet=True))
    server.stop()
    try:
        with pytest.raises(UserError, match=r"cannot be used: .*\nIs the server up"):
            load_runs(database_of(config))
    finally:
        server.start()


@pytest.mark.nightly
def test_an_outage_fails_the_run_and_the_next_goes_on_through_a_restart(server, config, segpipe, monkeypatch, tmp_path):
    from components import data_gate

    original = data_gate.Executor.Do

    def stop(*arguments):
        original(*arguments)
        server.stop()

    with monkeypatch.context() as patch:
        patch.setattr(data_gate.Executor, "Do", stop)
        try:
            with pytest.raises(RunFailedError, match=r"DataGate failed: the metadata in .* cannot be used"):
                run_locally(config, Console(quiet=True))
        finally:
            server.start()
    assert load_runs(database_of(config), config.name)[-1].state == "interrupted"

    process = segpipe.start("run", "--config", write(config, tmp_path / "run.yaml"))
    logs = tmp_path / "output" / "logs"
    while not any("epoch 2/" in log.read_text() for log in logs.glob("*.log")):
        assert process.poll() is None
        time.sleep(0.1)
    server.stop()
    server.start()
    assert process.wait() == 0
    result = load_runs(database_of(config), config.name)[-1]
    assert result.state == "pushed"
    states = {component.name: component.state for component in result.components}
    assert (states["StatisticsGen"], states["DataGate"]) == ("cached", "done")
