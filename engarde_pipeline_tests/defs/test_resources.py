"""The BigQuery resource is one of dagster-gcp, so that other assets of the same project can use it."""

import os
from datetime import date

import pytest
from dagster import DagsterInstance, asset, materialize
from dagster_gcp import BigQueryResource
from pydantic import ValidationError

from engarde_pipeline.defs.resources import BigQuery, Postgres
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.schema.migrate import SchemaNotCurrent
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.world import World

DAY = date(2026, 3, 1)


@asset
def rows_in_bigquery(bigquery: BigQueryResource) -> int:
    with bigquery.get_client() as client:
        table = f"{os.environ['BIGQUERY_DATASET_ID']}.campaign_metrics"
        (row,) = client.query(f"SELECT count(*) AS total FROM {table}").result(timeout=60)
        return int(row["total"])


def test_another_asset_gets_a_client_for_the_configured_project(shop: Shop, instance: DagsterInstance) -> None:
    shop.load(DAY)
    before = dict(os.environ)

    result = materialize([rows_in_bigquery], instance=instance, resources={"bigquery": BigQuery()})

    assert result.output_for_node("rows_in_bigquery") == 2
    assert dict(os.environ) == before  # credentials are not written to the environment


@pytest.mark.parametrize("option", ["project", "location", "gcp_credentials"])
def test_a_configuration_that_would_have_no_effect_is_refused(option: str) -> None:
    with pytest.raises(ValidationError, match=f"{option}: this resource is configured by BIGQUERY_PROJECT_ID"):
        BigQuery(**{option: "x"})


@pytest.mark.parametrize("revision", ["0001", None])
def test_a_schema_that_is_not_current_is_refused_with_the_cure(configured: World, revision: str | None) -> None:
    with connect(configured.database_url) as connection:
        connection.execute("DELETE FROM engarde_alembic_version")
        if revision:
            connection.execute("INSERT INTO engarde_alembic_version VALUES (%s)", [revision])
    with pytest.raises(SchemaNotCurrent, match="Run `engarde db upgrade`"):
        Postgres().connect()


def test_a_connection_with_its_checks_is_one_session(configured: World) -> None:
    with connect(configured.database_url) as observer:

        def sessions() -> int:
            observer.execute("SELECT pg_stat_clear_snapshot()")
            found = observer.execute(
                "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"
            ).fetchone()
            assert found is not None
            return int(found[0])

        before = sessions()
        with Postgres().connect("a-run"):
            assert sessions() == before + 1
