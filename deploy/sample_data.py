"""Loads the sample data of `engarde demo` into the emulator and the Postgres of compose.yaml."""

from engarde_pipeline.bigquery.client import create_client
from engarde_pipeline.core.dates import today
from engarde_pipeline.local.sample_data import fill_bigquery, seed_postgres
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.settings import load_settings

settings = load_settings()
if settings.bigquery_emulator_host is None:
    raise SystemExit("BIGQUERY_EMULATOR_HOST is not set: sample data is loaded into an emulator only.")
loaded = fill_bigquery(create_client(settings), settings.bigquery_dataset_id, today())
with connect(settings.database_url.get_secret_value()) as connection:
    seed_postgres(connection)
print(f"{len(loaded)} dates of sample data were loaded.")  # noqa: T201  a script
