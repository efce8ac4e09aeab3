"""Runs and schedules on a Kubeflow Pipelines server, by `kfp.Client`."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import yaml

from data.base.errors import UserError
from pipeline.runners.kubeflow.compiler import VERDICT, require_sdk

_OVER = {"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"}
_PAGE = 100
_FIRST_LINE = re.compile(r"\s*\n.*", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class ServerRun:
    """A run on a server.

    Attributes:
      run_id: the server's.
      name: for people.
      state: `running`, `pushed`, `refused`, `failed`, `canceled`, as far as the server knows it.
      created: when.
      seconds: from its creation to its end; None while it runs.
      reason: why it failed.
      steps: state of each step, by name.
    """

    run_id: str
    name: str
    state: str
    created: datetime.datetime | None
    seconds: float | None
    reason: str
    steps: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A recurring run.

    Attributes:
      schedule_id: the server's.
      name: for people.
      trigger: a cron expression, or `every N s`.
      is_enabled: whether it starts runs.
      pipeline_id: of the pipeline.
    """

    schedule_id: str
    name: str
    trigger: str
    is_enabled: bool
    pipeline_id: str


class Server:
    """A Kubeflow Pipelines server.

    It is reached as the SDK does it: a host or, without one, the service in the same cluster; a token or a cookie from
    KF_PIPELINES_TOKEN or KF_PIPELINES_COOKIE, else the service account of the pod.
    """

    def __init__(self, host: str | None, namespace: str | None = None):
        """Connects.

        Args:
          host: URL of the API, such as `http://localhost:8888`.
          namespace: of a server with several users.

        Raises:
          UserError: if the server cannot be reached, refuses, or is too old.
        """
        require_sdk()
        import kfp

        class Client(kfp.Client):
            def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
                # The SDK asks five times in 25 seconds, and then does not tell what was wrong.
                api = self._healthz_api
                # The older name is that of kfp 2.5.
                new, old = "healthz_service_get_healthz", "get_healthz"
                return getattr(api, new if hasattr(api, new) else old)()

        self._namespace = namespace
        self._host = host or os.environ.get("KF_PIPELINES_ENDPOINT") or "the cluster of this machine"
        token, cookie = (os.environ.get(f"KF_PIPELINES_{name}") for name in ("TOKEN", "COOKIE"))
        with self._plain_errors(), _no_output(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arguments = {"namespace": namespace} if namespace else {}
            self._client = Client(host=host, existing_token=token, cookies=cookie, **arguments)
            self._client.get_kfp_healthz()

    def submit(
        self, path: str, parameters: dict[str, Any], experiment: str, name: str | None = None, root: str | None = None
    ) -> str:
        """Uploads a compiled pipeline, as a new version where there is one of its name, and starts a run.

        Args:
          path: of the YAML of `segpipe compile`.
          parameters: of the run, by name.
          experiment: that the run is listed under; made if there is none.
          name: of the run; by default the pipeline's and the time.
          root: URI for the artifacts; by default the pipeline's or the server's.

        Returns:
          The run's id.
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

    def wait(self, run_id: str, progress: Callable[[str], None], seconds: float = 10.0) -> ServerRun:
        """Waits for the end of a run, and tells each step's states."""
        told: dict[str, str] = {}
        while True:
            run = self.get_run(run_id)
            for step, state in run.steps.items():
                if told.get(step) != state:
                    told[step] = state
                    progress(f"{step}: {state}")
            if run.state != "running":
                return run
            time.sleep(seconds)

    def get_run(self, run_id: str) -> ServerRun:
        """A run by its id."""
        with self._plain_errors():
            return _run(self._client.get_run(run_id))

    def list_runs(self, pipeline: str | None = None) -> list[ServerRun]:
        """The runs on the server, oldest first.

        Args:
          pipeline: name of the pipeline; by default all.
        """
        with self._plain_errors():
            pipeline_id = self._pipeline_id(pipeline) if pipeline else None
            runs = self._pages(lambda **page: self._client.list_runs(**page, **self._in_namespace()), "runs")
        wanted = [
            run
            for run in runs
            if pipeline is None or getattr(run.pipeline_version_reference, "pipeline_id", None) == pipeline_id
        ]
        return sorted(map(_run, wanted), key=lambda run: str(run.created))

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
        """Uploads a compiled pipeline and runs it again and again: one at a time, and no missed turn is made up for.

        A schedule of the same name is replaced, once the new one is there.

        Args:
          path: of the YAML of `segpipe compile`.
          parameters: of the runs, by name.
          experiment: that they are listed under; made if there is none.
          name: of the schedule.
          cron: six fields, seconds first, in UTC.
          every_seconds: instead of `cron`.
          root: URI for the artifacts.

        Returns:
          The schedule's id.
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
        """The schedules on the server, by name."""
        with self._plain_errors():
            found = self._pages(
                lambda **page: self._client.list_recurring_runs(**page, **self._in_namespace()), "recurring_runs"
            )
        return sorted(map(_schedule, found), key=lambda item: item.name)

    def pause(self, name: str) -> None:
        """Lets a schedule start no more runs, until `resume`."""
        with self._plain_errors():
            self._client.disable_recurring_run(self._schedule_id(name))

    def resume(self, name: str) -> None:
        """Ends a pause."""
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
        # Not `get_pipeline_id`, whose filter finds no pipeline of a namespace.
        pages = self._pages(lambda **page: self._client.list_pipelines(**page, **self._in_namespace()), "pipelines")
        return next((item.pipeline_id for item in pages if item.display_name == name), None)

    def _upload(self, path: str, name: str) -> tuple[str, str]:
        """Makes the pipeline, or a new version of it; gives the ids of both."""
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
        """Turns what the SDK raises into what is wrong and what to do."""
        import kfp_server_api
        import urllib3

        try:
            yield
        except kfp_server_api.ApiException as error:
            raise UserError(f"{self._host}: {_explain(error.status, str(error.body or error.reason))}") from error
        except urllib3.exceptions.HTTPError as error:
            reason = _FIRST_LINE.sub("", str(getattr(error, "reason", error)))
            raise UserError(
                f"{self._host} cannot be reached ({reason}); is --host right, and is there a "
                "`kubectl port-forward --namespace kubeflow service/ml-pipeline 8888` for it?"
            ) from error
        except (TimeoutError, RuntimeError, ValueError, TypeError) as error:
            # What the SDK raises when nothing, or something else than Kubeflow Pipelines, answers.
            text = _FIRST_LINE.sub("", str(error))
            raise UserError(f"{self._host} is no Kubeflow Pipelines server that can be used: {text}") from error


def read_pipeline(path: str, parameters: dict[str, Any]) -> str:
    """The name of a compiled pipeline, once its parameters are checked and typed in place.

    Args:
      path: of the YAML of `segpipe compile`.
      parameters: of a run, by name; texts become what the pipeline wants.

    Raises:
      UserError: if the file is no pipeline, or a parameter is none of its or has a wrong value.
    """
    try:
        with open(path, encoding="utf-8") as file:
            spec = next(yaml.safe_load_all(file))
        name = spec["pipelineInfo"]["name"]
        known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the pipeline {path}: {error}") from None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, StopIteration):
        raise UserError(f"{path} is no pipeline; `segpipe compile` makes one") from None
    kinds: dict[str, Any] = {"NUMBER_INTEGER": int, "NUMBER_DOUBLE": float, "STRING": str}
    for key, value in parameters.items():
        if key not in known:
            raise UserError(f"the pipeline has no parameter {key}; it has {', '.join(sorted(known))}")
        kind = known[key]["parameterType"]
        try:
            parameters[key] = kinds[kind](value)
        except ValueError:
            raise UserError(f"parameter {key} takes {kind.lower().replace('_', ' ')}; got {value}") from None
    return name


def _run(run: Any) -> ServerRun:
    details = run.run_details.task_details if run.run_details and run.run_details.task_details else []
    names = {task.display_name: task for task in details if _is_step(task.display_name)}
    steps = {name: str(task.state or "PENDING").lower() for name, task in names.items()}
    over = run.state in _OVER
    state = {"SUCCEEDED": "pushed", "FAILED": "failed"}.get(run.state, str(run.state).lower() if over else "running")
    # The last step fails if all others went well and Pusher did not push.
    failed = [name for name, step in steps.items() if step == "failed"]
    if failed == [VERDICT]:
        state = "refused"
    messages = [run.error.message if run.error else ""]
    messages += [task.error.message for task in names.values() if task.error and task.error.message]
    reason = next(filter(None, reversed(messages)), "") or (f"failed: {', '.join(failed)}" if failed else "")
    seconds = (
        (run.finished_at - run.created_at).total_seconds() if over and run.finished_at and run.created_at else None
    )
    return ServerRun(run.run_id, run.display_name, state, run.created_at, seconds, reason, steps)


def _is_step(name: str | None) -> bool:
    """Kubeflow lists its own drivers, the containers of steps, and the whole graph beside the steps."""
    return bool(name) and name not in ("root", "executor") and not str(name).endswith("-driver")


def _schedule(item: Any) -> Schedule:
    trigger = ""
    if item.trigger and item.trigger.cron_schedule:
        trigger = item.trigger.cron_schedule.cron
    elif item.trigger and item.trigger.periodic_schedule:
        trigger = f"every {item.trigger.periodic_schedule.interval_second} s"
    reference = item.pipeline_version_reference
    return Schedule(
        item.recurring_run_id,
        item.display_name,
        trigger,
        item.status == "ENABLED",
        reference.pipeline_id if reference else "",
    )


def _explain(status: int, body: str) -> str:
    text = _FIRST_LINE.sub("", body)[:500]
    if status in (401, 403):
        return (
            f"refused ({status}); give a token in KF_PIPELINES_TOKEN or a cookie in KF_PIPELINES_COOKIE, "
            f"and the namespace with --namespace: {text}"
        )
    if status == 404:
        return f"has no such thing, or is older than Kubeflow Pipelines 2.0 (404): {text}"
    return f"answered {status}: {text}"


def _now() -> str:
    return f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M:%S}"


@contextlib.contextmanager
def _no_output() -> Iterator[None]:
    """Keeps the links that the SDK prints to itself."""
    with open(os.devnull, "w", encoding="utf-8") as sink, contextlib.redirect_stdout(sink):
        yield
