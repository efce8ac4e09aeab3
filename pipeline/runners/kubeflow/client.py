"""Runs and schedules on a Kubeflow Pipelines server, through `kfp.Client`."""

from __future__ import annotations

import contextlib
import datetime
import http
import logging
import os
import re
import shlex
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pydantic
import yaml

from data.base.errors import UserError
from data.base.yaml_text import read_yaml
from pipeline.runners.kubeflow.compiler import require_sdk
from pipeline.runners.kubeflow.server_records import Schedule, ServerRun

_PAGE = 100
_KINDS = {"NUMBER_INTEGER": "a whole number", "NUMBER_DOUBLE": "a number", "STRING": "text"}
# How long `wait` goes on asking a server that does not answer.
OUTAGE_SECONDS = 30 * 60.0
_IN_CLUSTER = "http://ml-pipeline.kubeflow:8888"
_FIRST_LINE = re.compile(r"\s*\n.*", re.DOTALL)


class OutageError(UserError):
    """The server cannot be reached, or cannot answer, at the moment."""


class Server:
    """A Kubeflow Pipelines server.

    It is reached as the SDK does it: at a host or, without one, as the service in the same cluster; with a token from
    KF_PIPELINES_TOKEN or a cookie from KF_PIPELINES_COOKIE, else as the pod's service account.
    """

    def __init__(self, host: str | None, namespace: str | None = None):
        """Connects.

        Args:
          host: URL of the API, such as `http://localhost:8888`.
          namespace: the user's, if the server has several users.

        Raises:
          UserError: if the server cannot be reached, refuses, or is too old.
        """
        require_sdk()
        import kfp

        class Client(kfp.Client):
            def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
                # The SDK asks five times in 25 seconds, logs a traceback each time, and does not say what was wrong.
                logging.disable()
                try:
                    return super().get_kfp_healthz(sleep_duration)
                except TimeoutError:
                    self.list_pipelines(page_size=1)  # What is wrong is wrong here, too, and raised.
                    raise
                finally:
                    logging.disable(logging.NOTSET)

        self._namespace = namespace
        self._url = host or os.environ.get("KF_PIPELINES_ENDPOINT")
        self._host = self._url or "the cluster of this machine"
        token, cookie = (os.environ.get(f"KF_PIPELINES_{name}") for name in ("TOKEN", "COOKIE"))
        with self._plain_errors(), _no_output(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arguments = {"namespace": namespace} if namespace else {}
            self._client = Client(host=host, existing_token=token, cookies=cookie, **arguments)
            self._client.get_kfp_healthz()

    def submit(
        self, path: str, parameters: dict[str, Any], experiment: str, name: str | None = None, root: str | None = None
    ) -> str:
        """Uploads a compiled pipeline, as a new version if the server has one of that name, and starts a run.

        Args:
          path: the YAML file that `segpipe compile` made.
          parameters: parameters of the run, by name.
          experiment: name of the experiment that lists the run; it is created if there is none.
          name: name of the run; by default, the pipeline's name and the time.
          root: URI for the artifacts; by default, the pipeline's or the server's.

        Returns:
          The run's ID.
        """
        pipeline = read_pipeline(path, parameters)
        with self._plain_errors():
            pipeline_id, version_id = self._upload(path, pipeline)
            experiment_id = self._experiment(experiment)
            with _no_output():
                run = self._client.run_pipeline(
                    experiment_id=experiment_id,
                    job_name=name or f"{pipeline} {_now()}",
                    params=parameters,
                    pipeline_id=pipeline_id,
                    version_id=version_id,
                    pipeline_root=root,
                )
        return run.run_id

    def wait(
        self, run_id: str, progress: Callable[[str], None], seconds: float = 10.0, patience: float = OUTAGE_SECONDS
    ) -> ServerRun:
        """Waits for the end of a run.

        Args:
          run_id: ID of the run.
          progress: called with a line for each step's new state, and for the beginning and end of an outage.
          seconds: how long to wait before asking the server again.
          patience: how many seconds an outage may last. A server being upgraded, or a port forwarding that somebody has
            to start again, should be back by then.

        Raises:
          UserError: if the server refuses to answer, or an outage lasts longer; the run goes on.
        """
        shown: dict[str, str] = {}
        outage: float | None = None  # When it began.
        while True:
            try:
                run = self.get_run(run_id)
            except UserError as error:
                now = time.monotonic()
                if not isinstance(error, OutageError) or (outage is not None and now - outage >= patience):
                    words = ["segpipe", "runs", "--host", self._url or _IN_CLUSTER]
                    again = shlex.join([*words, *(["--namespace", self._namespace] if self._namespace else [])])
                    raise UserError(
                        f"{error}\nRun {run_id} goes on without this command; `{again}` shows it"
                    ) from error
                if outage is None:
                    outage = now
                    progress(f"{error}\nThe run goes on; trying again for up to {patience / 60:g} minutes.")
                time.sleep(seconds)
                continue
            if outage is not None:
                outage = None
                progress("The server answers again.")
            for step, state in run.steps.items():
                if shown.get(step) != state:
                    shown[step] = state
                    progress(f"{step}: {state}")
            if run.state != "running":
                return run
            time.sleep(seconds)

    def get_run(self, run_id: str) -> ServerRun:
        """Looks up a run by its ID."""
        with self._plain_errors():
            return ServerRun.from_api(self._client.get_run(run_id))

    def list_runs(self, pipeline: str | None = None) -> list[ServerRun]:
        """Lists the runs on the server, oldest first.

        Args:
          pipeline: name of the pipeline whose runs to list; by default, all runs.
        """
        with self._plain_errors():
            pipeline_id = self._pipeline_id(pipeline) if pipeline else None
            runs = self._pages(lambda **page: self._client.list_runs(**page, **self._in_namespace()), "runs")
        wanted = [
            run
            for run in runs
            if pipeline is None or getattr(run.pipeline_version_reference, "pipeline_id", None) == pipeline_id
        ]
        return sorted(map(ServerRun.from_api, wanted), key=lambda run: str(run.created))

    def schedule(
        self,
        path: str,
        parameters: dict[str, Any],
        experiment: str,
        name: str,
        cron: str | None = None,
        every_seconds: int | None = None,
        root: str | None = None,
    ) -> str:
        """Uploads a compiled pipeline and runs it again and again: one run at a time, and missed runs are skipped.

        A schedule of the same name is replaced once the new one exists.

        Args:
          path: the YAML file that `segpipe compile` made.
          parameters: parameters of the runs, by name.
          experiment: name of the experiment that lists the runs; it is created if there is none.
          name: name of the schedule.
          cron: six fields, seconds first, in UTC.
          every_seconds: the interval, instead of `cron`.
          root: URI for the artifacts.

        Returns:
          The schedule's ID.
        """
        pipeline = read_pipeline(path, parameters)
        with self._plain_errors():
            former = [item for item in self.list_schedules() if item.name == name]
            pipeline_id, version_id = self._upload(path, pipeline)
            with _no_output():
                created = self._client.create_recurring_run(
                    experiment_id=self._experiment(experiment),
                    job_name=name,
                    cron_expression=cron,
                    interval_second=every_seconds,
                    max_concurrency=1,
                    no_catchup=True,
                    params=parameters,
                    pipeline_id=pipeline_id,
                    version_id=version_id,
                    pipeline_root=root,
                )
            for item in former:
                self._client.delete_recurring_run(item.schedule_id)
        return created.recurring_run_id

    def list_schedules(self) -> list[Schedule]:
        """Lists the schedules on the server, sorted by name."""
        with self._plain_errors():
            found = self._pages(
                lambda **page: self._client.list_recurring_runs(**page, **self._in_namespace()), "recurring_runs"
            )
        return sorted(map(Schedule.from_api, found), key=lambda item: item.name)

    def pause(self, name: str) -> None:
        """Keeps a schedule from starting runs until `resume`."""
        with self._plain_errors():
            self._client.disable_recurring_run(self._schedule_id(name))

    def resume(self, name: str) -> None:
        """Lets a paused schedule start runs again."""
        with self._plain_errors():
            self._client.enable_recurring_run(self._schedule_id(name))

    def delete(self, name: str) -> None:
        """Deletes a schedule; its runs stay."""
        with self._plain_errors():
            self._client.delete_recurring_run(self._schedule_id(name))

    def _schedule_id(self, name: str) -> str:
        found = [item.schedule_id for item in self.list_schedules() if item.name == name]
        if len(found) != 1:
            raise UserError(f"{'no' if not found else 'more than one'} schedule is called {name}")
        return found[0]

    def _in_namespace(self) -> dict[str, str]:
        return {"namespace": self._namespace} if self._namespace else {}

    def _pages(self, call: Callable[..., Any], field: str) -> list[Any]:
        found: list[Any] = []
        token = ""
        while True:
            page = call(page_token=token, page_size=_PAGE)
            found += getattr(page, field) or []
            token = page.next_page_token
            if not token:
                return found

    def _experiment(self, name: str) -> str:
        with _no_output():
            return self._client.create_experiment(name=name, **self._in_namespace()).experiment_id

    def _pipeline_id(self, name: str) -> str | None:
        # Not `get_pipeline_id`, whose filter does not find pipelines in a namespace.
        pages = self._pages(lambda **page: self._client.list_pipelines(**page, **self._in_namespace()), "pipelines")
        return next((item.pipeline_id for item in pages if item.display_name == name), None)

    def _upload(self, path: str, name: str) -> tuple[str, str]:
        """Creates the pipeline, or a new version of it; returns the IDs of the pipeline and the version."""
        pipeline_id = self._pipeline_id(name)
        with _no_output():
            if pipeline_id is None:
                pipeline_id = self._client.upload_pipeline(path, pipeline_name=name, **self._in_namespace()).pipeline_id
                versions = self._client.list_pipeline_versions(pipeline_id, page_size=1).pipeline_versions
                return pipeline_id, versions[0].pipeline_version_id
            version = self._client.upload_pipeline_version(
                path, pipeline_version_name=f"{name} {_now()}", pipeline_id=pipeline_id
            )
            return pipeline_id, version.pipeline_version_id

    @contextlib.contextmanager
    def _plain_errors(self) -> Iterator[None]:
        """Turns the SDK's exceptions into messages that say what is wrong and what to do."""
        import kfp_server_api
        import urllib3

        try:
            yield
        except kfp_server_api.ApiException as error:
            text = f"{self._host}: {_explain(error.status, str(error.body or error.reason))}"
            is_outage = (
                error.status >= http.HTTPStatus.INTERNAL_SERVER_ERROR
                or error.status == http.HTTPStatus.TOO_MANY_REQUESTS
            )
            raise (OutageError if is_outage else UserError)(text) from error
        except urllib3.exceptions.HTTPError as error:
            reason = _FIRST_LINE.sub("", str(getattr(error, "reason", error)))
            raise OutageError(
                f"{self._host} cannot be reached ({reason}); is --host right, and is there a "
                "`kubectl port-forward --namespace kubeflow service/ml-pipeline 8888` for it?"
            ) from error
        except (TimeoutError, RuntimeError, ValueError, TypeError) as error:
            # The SDK raises these when nothing answers, or something other than Kubeflow Pipelines.
            text = _FIRST_LINE.sub("", str(error))
            raise UserError(f"{self._host} is not a usable Kubeflow Pipelines server: {text}") from error


def read_pipeline(path: str, parameters: dict[str, Any]) -> str:
    """Reads the name of a compiled pipeline, and checks a run's parameters.

    Args:
      path: the YAML file that `segpipe compile` made.
      parameters: parameters of a run, by name; text is converted, in place, to the type that the pipeline takes.

    Raises:
      UserError: if the file is not a pipeline, or a parameter is unknown or has a value of the wrong type.
    """
    try:
        with open(path, encoding="utf-8") as file:
            spec = next(yaml.safe_load_all(file))
        name = spec["pipelineInfo"]["name"]
        known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the pipeline {path}: {error}") from None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, StopIteration):
        raise UserError(f"{path} is not a compiled pipeline; `segpipe compile` makes one") from None
    types: dict[str, Any] = {"NUMBER_INTEGER": int, "NUMBER_DOUBLE": float, "STRING": str}
    for key, value in parameters.items():
        if key not in known:
            raise UserError(f"the pipeline has no parameter {key}; it has {', '.join(sorted(known))}")
        kind = known[key]["parameterType"]
        try:
            read = read_yaml(value) if kind != "STRING" and isinstance(value, str) else value
            parameters[key] = pydantic.TypeAdapter(types[kind]).validate_python(read)
        except ValueError:
            raise UserError(f"parameter {key} takes {_KINDS[kind]}; got {value}") from None
    return name


def _explain(status: int, body: str) -> str:
    text = _FIRST_LINE.sub("", body)[:500]
    if status in (401, 403):
        return (
            f"refused ({status}); give a token in KF_PIPELINES_TOKEN or a cookie in KF_PIPELINES_COOKIE, "
            f"and the namespace with --namespace: {text}"
        )
    if status == 404:
        return f"not found (404), or the server is older than Kubeflow Pipelines 2.0: {text}"
    return f"answered {status}: {text}"


def _now() -> str:
    return f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M:%S}"


@contextlib.contextmanager
def _no_output() -> Iterator[None]:
    """Discards the links that the SDK prints."""
    with open(os.devnull, "w", encoding="utf-8") as sink, contextlib.redirect_stdout(sink):
        yield
