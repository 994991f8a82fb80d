"""The daily partitions and the backfill policy that all assets share."""

from dagster import BackfillPolicy, DailyPartitionsDefinition

from engarde_pipeline.core.dates import first_date
from engarde_pipeline.settings import load_pipeline_settings

# The last partition is the latest date anywhere on Earth, which is the date in UTC+14. The tz database reverses
# the sign: Etc/GMT-14 is ahead of UTC. With `end_offset=1` a date is a partition as soon as it begins; its
# numbers are provisional while the day is not over.
daily = DailyPartitionsDefinition(start_date=first_date().isoformat(), timezone="Etc/GMT-14", end_offset=1)


def backfill_policy() -> BackfillPolicy:
    """Return how a backfill is split into runs; all assets of a job must share it (dagster issue 17404)."""
    dates = load_pipeline_settings().engarde_dates_per_run
    return BackfillPolicy.multi_run(dates) if dates else BackfillPolicy.single_run()
