"""Metrics in a notebook: exact dtypes, and errors that say what is wrong."""

from datetime import date
from decimal import Decimal

import pandas as pd
import pytest

from engarde_pipeline.core.dates import InvalidDates
from engarde_pipeline.frames import read_metrics
from engarde_pipeline.postgres.load.scope import UnknownSlice
from engarde_pipeline_tests.shop import Shop

DAY = date(2026, 3, 1)


@pytest.fixture
def synced(shop: Shop) -> Shop:
    shop.load(DAY)
    shop.world.sync(DAY)
    return shop


def test_a_frame_has_exact_amounts_and_typed_columns(synced: Shop) -> None:
    frame = read_metrics("2026-03-01", "2026-03-01")

    assert list(frame["spend"]) == [Decimal("10.500000")] * 2
    assert frame["spend"].sum() == Decimal(21)
    assert str(frame.dtypes["spend"]) == "decimal128(38, 6)[pyarrow]"
    assert str(frame.dtypes["clicks"]) == "int64[pyarrow]"
    assert frame["metric_date"].tolist() == [DAY] * 2
    assert pd.isna(frame["metric_hour"]).all()


def test_a_frame_can_be_grouped_filtered_and_plotted(synced: Shop) -> None:
    frame = read_metrics(DAY, DAY, tenant=str(synced.tenant), platform="meta", group_by="campaign")

    assert frame.set_index("campaign_name")["roas"].astype(float).to_dict() == {"c1": 4.0, "c2": 4.0}
    assert frame.sort_values("spend", ascending=False)["clicks"].sum() == 20


def test_a_frame_without_rows_has_its_columns(synced: Shop) -> None:
    frame = read_metrics("2026-04-01", "2026-04-02", assets=True, group_by="asset")

    assert frame.empty
    assert {"campaign_asset_id", "spend", "engagement_rate"} <= set(frame.columns)


def test_what_cannot_be_read_is_named(synced: Shop) -> None:
    with pytest.raises(UnknownSlice, match="There is no tenant 'nobody'"):
        read_metrics(DAY, DAY, tenant="nobody")
    with pytest.raises(InvalidDates, match="Swap them"):
        read_metrics("2026-03-02", "2026-03-01")
    with pytest.raises(ValueError, match="Only asset metrics can be grouped by asset"):
        read_metrics(DAY, DAY, group_by="asset")
