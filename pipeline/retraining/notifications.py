"""Notifies people and programs of how a run ended."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from typing import Any

from data.base.errors import UserError
from pipeline.retraining.settings import NotifySettings


def notify(settings: NotifySettings, summary: dict[str, Any]) -> list[str]:
    """Calls the command and the webhook.

    Args:
      settings: whom to notify, and of which runs.
      summary: the run's; `state` and `has_pushed` say whether the settings ask for it.

    Returns:
      What went wrong, one message each, without secrets; nothing is raised.
    """
    is_wanted = summary["state"] in settings.states
    if not is_wanted and not (summary.get("has_pushed") and "pushed" in settings.states):
        return []
    text, problems = json.dumps(summary), []
    if settings.command:
        problems += _call(settings.command, text, settings.timeout_seconds)
    if settings.webhook:
        try:
            url = settings.webhook.read("notify.webhook")
        except UserError as error:
            problems.append(str(error))
        else:
            problems += _post(url, text, settings.timeout_seconds)
    return problems


def _call(command: list[str], text: str, timeout: float) -> list[str]:
    name = f"notify.command {command[0]}"
    try:
        result = subprocess.run(command, input=text, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return [f"{name}: stopped after {timeout:g} s"]
    except OSError as error:
        return [f"{name}: {error.strerror}"]
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        return [f"{name}: exit code {result.returncode}: {last}"]
    return []


def _post(url: str, text: str, timeout: float) -> list[str]:
    # No message has the URL, because it may contain a key.
    try:
        request = urllib.request.Request(url, text.encode(), {"Content-Type": "application/json"})
        if request.type not in ("http", "https"):
            return ["notify.webhook: the URL must begin with http:// or https://"]
        with urllib.request.urlopen(request, timeout=timeout):
            return []
    except urllib.error.HTTPError as error:
        return [f"notify.webhook: the server answered {error.code}"]
    except urllib.error.URLError as error:
        return [f"notify.webhook: {getattr(error.reason, 'strerror', None) or type(error.reason).__name__}"]
    except (OSError, ValueError) as error:
        return [f"notify.webhook: {type(error).__name__}"]
