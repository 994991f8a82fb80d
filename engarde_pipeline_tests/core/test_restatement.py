"""ENGARDE_RESTATEMENT_DAYS: for how many of the latest dates each platform may still change its numbers."""

from datetime import timedelta

import pytest

from engarde_pipeline.core.date_states import is_provisional
from engarde_pipeline.core.dates import provisional_days, today
from engarde_pipeline.core.restatement import RestatementDays, parse_restatement_days
from engarde_pipeline.settings import InvalidSettings, load_pipeline_settings


def test_platforms_that_are_not_named_keep_their_defaults() -> None:
    days = parse_restatement_days(" tiktok = 7, meta=3,*=14 ")

    assert days == RestatementDays({"meta": 3, "google": 30, "tiktok": 7}, 14)
    assert days.longest == 30
    assert parse_restatement_days("google=1,*=40").longest == 40


def test_by_default_meta_restates_28_days_and_google_30(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENGARDE_RESTATEMENT_DAYS", raising=False)

    days = load_pipeline_settings().engarde_restatement_days

    assert (days.by_platform["meta"], days.by_platform["google"], days.others) == (28, 30, 30)


def test_a_date_is_provisional_for_as_long_as_any_platform_restates_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGARDE_RESTATEMENT_DAYS", "meta=45")

    assert provisional_days() == 45
    assert is_provisional(today() - timedelta(days=44))
    assert not is_provisional(today() - timedelta(days=45))


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("meta=0", "'meta=0'"),
        ("meta=367", "'meta=367'"),
        ("meta=2.5", "'meta=2.5'"),
        ("meta", "'meta'"),
        ("28", "'28'"),
        ("meta=28,", "''"),
        ("=28", "'=28'"),
        ("meta=28,meta=7", "several entries for meta"),
    ],
)
def test_a_malformed_entry_is_named_with_the_form(monkeypatch: pytest.MonkeyPatch, value: str, names: str) -> None:
    monkeypatch.setenv("ENGARDE_RESTATEMENT_DAYS", value)

    with pytest.raises(InvalidSettings, match=rf"ENGARDE_RESTATEMENT_DAYS: has .*{names}"):
        load_pipeline_settings()
