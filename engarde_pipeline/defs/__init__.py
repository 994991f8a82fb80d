"""All that knows Dagster's assets. Each asset is thin: the work is in `sync`."""

import warnings

from dagster import BetaWarning

# Single-run backfills have been "beta" for years; the pinned version is what the tests run on.
warnings.filterwarnings("ignore", message="Parameter `backfill_policy`", category=BetaWarning)
