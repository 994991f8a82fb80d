"""`engarde alerts`: lists the open incidents, and tests the channels through which they are reported."""

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.padding import Padding
from rich.text import Text

from engarde_pipeline.cli.dev import dagster_url
from engarde_pipeline.cli.servers import dagster_instance, embedded_default
from engarde_pipeline.cli.terminal import console, errors, visible
from engarde_pipeline.core.plurals import counted
from engarde_pipeline.settings import load_pipeline_settings

if TYPE_CHECKING:
    from engarde_pipeline.alerts.channels import Send
    from engarde_pipeline.alerts.incidents import Incident
    from engarde_pipeline.defs.sensors.alerts import AlertState

app = typer.Typer(invoke_without_command=True)

_CURRENT = timedelta(minutes=5)
"""The sensor is evaluated every minute; a list that is older than this may be wrong."""


@app.callback()
def alerts(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")] = False,
) -> None:
    """List the open incidents: what is wrong since when, and what to do.

    The sensor `alerts` finds and reports them every minute while Dagster's daemon runs; this command shows what it
    found last. The exit code is 1 if an incident is open, or if the sensor has not run for five minutes.
    """
    if context.invoked_subcommand:
        return
    from engarde_pipeline.defs.sensors.alerts import stored_states

    with embedded_default(), dagster_instance() as instance:
        state = max(stored_states(instance), key=lambda state: state.evaluated_at, default=None)
    now = datetime.now(UTC)
    is_current = state is not None and now.timestamp() - state.evaluated_at < _CURRENT.total_seconds()
    if as_json:
        typer.echo(json.dumps(_document(state, is_current), indent=2))
    else:
        _print_state(state, is_current, now)
    if not is_current or (state and state.incidents):
        raise typer.Exit(1)


def _document(state: "AlertState | None", is_current: bool) -> dict[str, Any]:
    url = dagster_url()
    return {
        "evaluated_at": _moment(state.evaluated_at).isoformat() if state else None,
        "is_current": is_current,
        "incidents": [
            {
                **asdict(incident),
                "opened_at": _moment(state.opened_at[key]).isoformat(),
                "link": incident.link(url),
            }
            for key, incident in state.incidents.items()
        ]
        if state
        else [],
    }


def _print_state(state: "AlertState | None", is_current: bool, now: datetime) -> None:
    if state is None:
        console.print(
            "The sensor `alerts` has not run yet, so nothing is reported. Start Dagster's daemon with `engarde"
            " dev` or `engarde daemon`, and check in the Dagster UI, under Automation, that the sensor is on.",
            style="red",
        )
        return
    number = len(state.incidents)
    age = now - _moment(state.evaluated_at)
    console.print(
        f"{counted(number, 'incident') if number else 'No incident'} {'is' if number < 2 else 'are'} open, as of"
        f" {_moment(state.evaluated_at):%Y-%m-%d %H:%M:%S} UTC ({_ago(age)}).",
        highlight=False,
    )
    if not is_current:
        console.print(
            f"The sensor `alerts` last ran {_ago(age)}, so this may be out of date and nothing is reported. Check"
            " that Dagster's daemon is running, and in the Dagster UI, under Automation, that the sensor is on.",
            style="red",
            highlight=False,
        )
    url = dagster_url()
    for key, incident in state.incidents.items():
        since = f" (since {_moment(state.opened_at[key]):%Y-%m-%d %H:%M} UTC)"
        console.print(Text.assemble((visible(incident.title), "bold red"), since))
        console.print(Padding(Text(visible(incident.text(url))), (0, 0, 0, 2)))


@app.command()
def test() -> None:
    """Send a test alert, and its end, through each configured channel.

    The exit code is 1 if a channel does not accept it, or if no channel is configured.
    """
    from engarde_pipeline.alerts.channels import LOG, configured_channels
    from engarde_pipeline.alerts.incidents import Incident

    channels = configured_channels(load_pipeline_settings())
    del channels[LOG]  # always on, but in the process of the sensor
    if not channels:
        errors.print(
            "No channel is configured: alerts are only written to the log of the code server, and nobody is"
            " alerted. Set one of ENGARDE_ALERT_WEBHOOK_URL, ENGARDE_ALERT_SLACK_URL, ENGARDE_ALERT_PAGERDUTY_KEY,"
            " or ENGARDE_ALERT_SMTP_URL with ENGARDE_ALERT_EMAIL_TO.",
            style="red",
            highlight=False,
        )
        raise typer.Exit(1)
    now = datetime.now(UTC)
    incident = Incident(
        key=f"test {now:%Y-%m-%dT%H:%M:%S}",
        title="Test of the alerts: nothing is wrong",
        reason=f"`engarde alerts test` was run at {now:%Y-%m-%d %H:%M} UTC.",
        what_to_do="Nothing. A second message says that this is over.",
    )
    accepted = [_accepts(name, send, incident) for name, send in channels.items()]
    if not all(accepted):
        raise typer.Exit(1)


def _accepts(name: str, send: "Send", incident: "Incident") -> bool:
    from engarde_pipeline.alerts.channels import failure_reason

    for is_over in (False, True):
        try:
            send(incident, is_over)
        except Exception as error:  # a channel's library may raise anything
            message = f" {name}: the {'end of the ' if is_over else ''}alert was not accepted: "
            console.print(Text.assemble(("✗", "red"), message, visible(failure_reason(error))))
            return False
    console.print(Text.assemble(("✓", "green"), f" {name}: accepted the alert and its end"))
    return True


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)


def _ago(age: timedelta) -> str:
    seconds = int(age.total_seconds())
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return f"{counted(seconds // length, unit)} ago"
    return f"{counted(seconds, 'second')} ago"
