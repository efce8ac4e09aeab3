"""The command line. Heavy packages are imported by the commands that need them, so that help is there at once."""

from __future__ import annotations

import gc
import sys

import click

from data.base.errors import UserError, readable
from data.base.lazy_modules import load_lazily
from pipeline.cli import convert, kubeflow, records, run
from pipeline.cli.common import EXIT_FAILED
from pipeline.cli.data_sets import init_data, inspect_data, plan_data
from pipeline.cli.loop import audit, monitor, suggest
from pipeline.cli.models import export, serving


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """Image segmentation from labeled images to a served model, on TensorFlow Extended.

    \b
    A first model of your own:
      segpipe init my_images     (writes my_run.yaml, and says how to go on)
      segpipe convert …          (as init says)
      segpipe run --config my_run.yaml
      segpipe predict --model MODEL photo.jpg --output predictions

    Exit codes: 0 done, 1 failed (with a message that says why), 2 the gate refused the model, 3 an alert of monitor.
    """


for _command in (
    init_data.init,
    inspect_data.inspect,
    convert.convert,
    plan_data.plan,
    run.run,
    run.retrain,
    run.join,
    run.tune,
    kubeflow.compile_command,
    kubeflow.submit,
    kubeflow.schedule,
    monitor.monitor,
    records.runs,
    records.open_overview,
    records.report,
    records.compare,
    records.history,
    records.lineage,
    records.rollback,
    records.clean,
    serving.predict,
    serving.serve,
    export.export,
    audit.audit,
    suggest.suggest,
):
    cli.add_command(_command)


def _interrupted() -> int:
    click.echo("Interrupted.", err=True)
    return 130


def main() -> None:
    """Entry point of `segpipe`."""
    # What is imported is a million objects and no garbage; to look for some after each 700 took a quarter of the time.
    gc.set_threshold(20_000, 10, 10)
    load_lazily()
    try:
        # Not click's own error handling: it exits with 2 for a wrong option, which here means "refused".
        status = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = EXIT_FAILED
    except (UserError, OSError) as error:
        click.echo(f"Error: {readable(str(error))}", err=True)
        status = EXIT_FAILED
    except (click.Abort, KeyboardInterrupt):
        status = _interrupted()
    except RuntimeError as error:
        # Beam wraps what ends a step, Ctrl-C included.
        if "KeyboardInterrupt" not in str(error):
            raise
        status = _interrupted()
    sys.exit(status or 0)
