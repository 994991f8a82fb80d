"""Keeps a marketing platform's Postgres true to BigQuery.

In a notebook or a script:

    import engarde_pipeline as engarde

    engarde.sync("2026-11-01", "2026-11-07")
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engarde_pipeline.notebook import sync as sync


class _Package(ModuleType):
    @property
    def sync(self) -> Any:
        """The function `engarde_pipeline.notebook.sync`, which is loaded when it is used: it loads Dagster."""
        from engarde_pipeline.notebook import sync

        return sync

    @sync.setter
    def sync(self, module: ModuleType) -> None:
        """Keep the function, when the import system sets the subpackage of the same name as an attribute.

        `from engarde_pipeline.sync.dates import sync_dates` finds the subpackage without this attribute.
        """


sys.modules[__name__].__class__ = _Package
