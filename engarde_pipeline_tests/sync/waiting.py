"""Waiting for a state of the database, never for a time."""

import time

from engarde_pipeline_tests.world import World


def until_a_backend_waits(world: World) -> None:
    """Return as soon as a connection to the world's database waits for a lock."""
    deadline = time.monotonic() + 30
    while not world.query(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ):
        assert time.monotonic() < deadline, "nobody waits for a lock"
        time.sleep(0.01)
