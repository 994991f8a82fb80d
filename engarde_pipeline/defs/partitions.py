"""The daily partitions, defined once for every asset."""

from dagster import BackfillPolicy, DailyPartitionsDefinition

from engarde_pipeline.core.dates import first_date
from engarde_pipeline.settings import load_pipeline_settings

# They end with the latest date anywhere on Earth, that of UTC+14. The tz database's sign is the reverse of the
# usual one: Etc/GMT-14 is ahead of UTC. `end_offset=1`: a date is a partition from its first moment on,
# provisional while the day is still filling.
daily = DailyPartitionsDefinition(start_date=first_date().isoformat(), timezone="Etc/GMT-14", end_offset=1)


def backfill_policy() -> BackfillPolicy:
    """Return how a backfill is split into runs; every asset of a job must share it (dagster issue 17404)."""
    dates = load_pipeline_settings().engarde_dates_per_run
    return BackfillPolicy.multi_run(dates) if dates else BackfillPolicy.single_run()
