"""How commands reach a Kubeflow Pipelines server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.common import quiet

if TYPE_CHECKING:
    from pipeline.runners.kubeflow.client import Server


def server_options(command: Any) -> Any:
    command = click.option("--namespace", help="Of a server with several users.")(command)
    return click.option(
        "--host",
        metavar="URL",
        envvar="KF_PIPELINES_ENDPOINT",
        help="The server's API. [default: that of this cluster]",
    )(command)


def connect(host: str | None, namespace: str | None) -> Server:
    quiet()
    from pipeline.runners.kubeflow.client import Server

    return Server(host, namespace)
