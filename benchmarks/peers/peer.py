"""What every peer does: make its table ready, and merge rows into it."""

from abc import ABC, abstractmethod
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

KEY = ("campaign_space_id", "metric_date")
"""The columns that identify a row; a peer replaces a row whose key its table has."""

SCHEMA = "peer"
TABLE = "campaign_metrics"


class Peer(ABC):
    """A program that merges source rows into the table `peer.campaign_metrics`.

    The rows are the source's, with the id of the campaign space in place of the platform's id of the campaign:
    no peer has to look it up.
    """

    name: ClassVar[str]
    """What the figures of this peer are stored under."""
    label: ClassVar[str]
    """What readers call it."""
    does_less: ClassVar[str]
    """What the pipeline does and this peer does not, beyond what no peer does (`NO_PEER_DOES`)."""
    packages: ClassVar[tuple[str, ...]]
    """The distributions it comes from; the report shows their versions."""
    module: ClassVar[str]
    """The module without which it cannot be measured."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url
        self.directory = directory

    @classmethod
    def is_installed(cls) -> bool:
        """Whether it can be measured here."""
        return find_spec(cls.module) is not None

    @abstractmethod
    def prepare(self, rows: pa.Table) -> None:
        """Make the table, empty, with the indexes of `campaign_metrics`; `rows` are those that will come."""

    @abstractmethod
    def load(self, rows: pa.Table) -> None:
        """Merge `rows` into the table, and commit. This is what is timed."""


NO_PEER_DOES = (
    "map the ids of campaigns, reject bad records and keep them, delete rows that the source no longer has,"
    " replace each date in a transaction of its own, refuse a date that shrinks or doubles, or count what became"
    " of every record"
)
