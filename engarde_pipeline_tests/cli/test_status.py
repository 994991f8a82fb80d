"""`engarde status`, `plan` and `doctor` show the same state of each date, whatever was synced since."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance

from engarde_pipeline.core.dates import today
from engarde_pipeline_tests.cli.conftest import Engarde
from engarde_pipeline_tests.dagster_runs import run_range
from engarde_pipeline_tests.runs.test_date_states import refuse
from engarde_pipeline_tests.shop import NUMBERS, Shop

OLD, HELD, FAILED, GOOD = (today() - timedelta(days=n) for n in (40, 5, 4, 3))


def _poisoned(instance: DagsterInstance, shop: Shop) -> None:
    """Make a date that is held, one whose sync fails, and good ones, one of them with a rejected record."""
    shop.load(OLD, HELD, FAILED, GOOD)
    shop.load_unmapped(GOOD)
    assert run_range(instance, OLD, OLD).success
    assert run_range(instance, HELD, GOOD).success
    _poison(shop)
    assert not run_range(instance, HELD, GOOD).success
    assert run_range(instance, GOOD, GOOD).success


def _poison(shop: Shop) -> None:
    # One date has lost its rows, as after a broken load; another one has more, which Postgres refuses.
    shop.world.replace(HELD, [])
    row = {"tenant_id": str(shop.tenant), "platform": "meta", "campaign_id": "c1", "metric_date": FAILED}
    shop.world.load([{**row, **NUMBERS}])
    refuse(shop, FAILED)


def _document(engarde: Engarde, code: int = 1) -> dict[str, Any]:
    said = engarde("status", "--json", "--days", 50)
    assert said.code == code
    found: dict[str, Any] = json.loads(said.out)
    return found


def _states(document: dict[str, Any], *, table: str = "campaign_metrics") -> dict[str, str]:
    return {row["date"]: row["state"] for row in document["dates"] if row["table"] == table}


def _line(out: str, day: date) -> str:
    (line,) = (line for line in out.splitlines() if line.strip().startswith(str(day)))
    return " ".join(line.split())


def test_every_command_says_the_same_of_a_date_also_after_others_were_synced_and_without_the_history(
    engarde: Engarde, instance: DagsterInstance, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _poisoned(instance, shop)

    document = _document(engarde)
    states = _states(document)
    expected = {str(OLD): "complete", str(HELD): "held", str(FAILED): "failed", str(GOOD): "provisional"}
    assert {day: states[day] for day in expected} == expected
    assert set(states.values()) - set(expected.values()) == {"missing"}
    assets = _states(document, table="campaign_asset_metrics")
    assert [assets[str(day)] for day in (OLD, HELD, FAILED, GOOD)] == ["complete", *["provisional"] * 3]

    text = engarde("status", "--days", 50, width=300)
    assert text.code == 1
    for day in (OLD, HELD, FAILED, GOOD):
        assert _line(text.out, day).split()[1] == expected[str(day)]
    assert (
        f"campaign_metrics: 1 held, 1 failed, {50 - 4} missing, 1 provisional, 1 complete."
        f" campaign_asset_metrics: {50 - 4} missing, 3 provisional, 1 complete."
    ) in text.words
    assert f"campaign_metrics {HELD}: BigQuery has 0 records where Postgres has 2" in text.words
    assert f"campaign_metrics {FAILED}: " in text.words
    assert "not_that_date" in text.words

    planned = {(row["table"], row["date"]): row["state"] for row in json.loads(engarde("plan", "--json").out)}
    assert planned["campaign_metrics", str(HELD)] == "held"
    assert planned["campaign_metrics", str(FAILED)] == "failed"
    assert all(state == states[day] for (table, day), state in planned.items() if table == "campaign_metrics")
    plan = engarde("plan", width=150).words
    assert f"{FAILED} campaign_metrics failed changed" in plan
    assert "sync these dates, except those that are held" in plan
    assert "A held date is tried again, and refused until its load is repaired or it is released" in plan

    doctor = engarde("doctor")
    assert doctor.code == 0
    assert "! dates: 1 held, 1 failed; `engarde status` shows why" in doctor.words
    assert "All checks passed, but dates need a person. Next: `engarde status`." in doctor.words

    # The numbers are those of Postgres, with the share of spend that is rejected.
    rows = {(row["table"], row["date"]): row for row in document["dates"]}
    good = rows["campaign_metrics", str(GOOD)]
    assert (good["rows"], good["spend"], good["revenue"]) == (2, {"": 21.0}, {"": 84.0})
    assert (good["rejected_records"], good["rejected_spend"]) == (1, {"": 10.5})
    assert good["rejected_spend_share"][""] == pytest.approx(1 / 3)
    assert good["synced_at"] <= good["compared_at"]
    assert (good["reason"], good["needs_attention"]) == (None, False)
    # A held date keeps its rows.
    held = rows["campaign_metrics", str(HELD)]
    assert (held["rows"], held["spend"], held["needs_attention"]) == (2, {"": 21.0}, True)
    assert "BigQuery has 0 records" in held["reason"]
    assert (
        rows["campaign_asset_metrics", str(GOOD)]["rows"],
        rows["campaign_asset_metrics", str(GOOD)]["spend"],
    ) == (1, {"": 10.5})

    line = _line(engarde("status", "--days", 5, width=120).out, GOOD)
    assert line.startswith(f"{GOOD} provisional 2 provisional 1 {today()}")
    assert line.endswith("1 33.3% 21.00 84.00")

    # Without Dagster's history, Postgres is shown, and what is not known.
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "gone"))

    document = _document(engarde)
    text = engarde("status", "--days", 50, width=300)

    states = _states(document)
    assert [states[str(day)] for day in (OLD, HELD, FAILED, GOOD)] == [
        "complete",
        "held",
        "provisional",
        "provisional",
    ]
    assert "does not exist" in document["history_error"]
    assert text.code == 1
    assert "Dagster's history could not be read, so that failed syncs are not shown." in text.words
    assert f"campaign_metrics {HELD}: BigQuery has 0 records" in text.words


def test_older_dates_that_need_a_person_are_named_with_how_to_show_them(
    engarde: Engarde, instance: DagsterInstance, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGARDE_WINDOW_DAYS", "1")
    shop.load(OLD)
    assert run_range(instance, OLD, OLD).success
    assert engarde("status", "--days", 1).code == 0
    shop.world.replace(OLD, [])
    assert not run_range(instance, OLD, OLD).success

    said = engarde("status", "--days", 1, width=200)

    assert said.code == 1
    assert "campaign_metrics: 1 missing. campaign_asset_metrics: 1 missing." in said.words
    assert (
        f"Older dates that need a person, since {OLD}: campaign_metrics: 1 held. To show them, use --days 41."
        in said.words
    )
    (old,) = (
        row for row in json.loads(engarde("status", "--json", "--days", 1).out)["dates"] if row["state"] == "held"
    )
    assert (old["date"], old["table"]) == (str(OLD), "campaign_metrics")


def test_a_table_that_bigquery_does_not_have_is_not_missing_dates(
    engarde: Engarde, instance: DagsterInstance, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGARDE_WINDOW_DAYS", "1")
    row = {"tenant_id": str(shop.tenant), "platform": "meta", "campaign_id": "c1", "metric_date": GOOD}
    shop.world.load([row])
    run_range(instance, GOOD, today())

    said = engarde("status", "--days", 4)

    assert said.code == 0
    assert "campaign_asset_metrics: 4 no table." in said.words
    assert {row["reason"] for row in _document(engarde, code=0)["dates"] if row["state"] == "no_table"} == {
        "BigQuery has no table asset_metrics."
    }


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_table_fits_the_terminal_and_shows_more_on_a_wider_one(
    engarde: Engarde, instance: DagsterInstance, shop: Shop, width: int
) -> None:
    shop.add_currencies()
    keys = {"tenant_id": str(shop.tenant), "platform": "meta", "metric_date": today()}
    shop.world.load(
        [
            {**keys, "campaign_id": campaign, "spend": 12_345_678.9, "revenue": 23_456_789.1, "currency": currency}
            for campaign, currency in (("c1", "EUR"), ("c2", "USD"), ("c3", "EUR"))
        ]
    )
    run_range(instance, today(), today())

    out = engarde("status", "--days", 3, width=width).out
    table = out.splitlines()[:6]

    assert "…" not in out
    assert max(map(len, table)) <= width
    heading = " ".join(table[0].split())
    assert heading.startswith("date campaigns rows assets rows")
    assert ("synced (UTC)" in heading, "of spend" in heading) == (width > 80, width > 80)
    assert "12,345,679 EUR" in out or "12,345,678.90 EUR" in out
