"""Where each asset is: its table in BigQuery or Postgres, as an address and a link, and its source code."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dagster import (
    AnchorBasedFilePathMapping,
    AssetsDefinition,
    AssetSpec,
    BetaWarning,
    MetadataValue,
    link_code_references_to_git,
    map_asset_specs,
    with_source_code_references,
)
from sqlalchemy.engine import URL

from engarde_pipeline.core import addresses, source_code
from engarde_pipeline.core.metrics import METRIC_TABLES
from engarde_pipeline.defs.metadata import source_key
from engarde_pipeline.settings import (
    EmbeddedDefaultNotRunning,
    Settings,
    load_pipeline_settings,
    load_settings,
)

_SEARCH_PATH = re.compile(r"search_path\s*=\s*\"?(\w+)")


def with_locations(assets: Sequence[AssetsDefinition | AssetSpec]) -> Sequence[AssetsDefinition | AssetSpec]:
    """Return the assets with the addresses of their tables and with references to their source code.

    The addresses are those of the environment, without users and passwords. They are left out if the embedded
    default is to be used and is not running. The references are links if ENGARDE_SOURCE_CODE_URL is set, and
    otherwise the paths of the installed files.
    """
    referring = _with_source_code(assets, load_pipeline_settings().engarde_source_code_url)
    try:
        settings = load_settings()
    except EmbeddedDefaultNotRunning:
        return referring
    return map_asset_specs(lambda spec: spec.merge_attributes(metadata=_location(spec, settings)), referring)


def _with_source_code(
    assets: Sequence[AssetsDefinition | AssetSpec], address: str | None
) -> Sequence[AssetsDefinition | AssetSpec]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BetaWarning)  # code references are in beta
        referring = with_source_code_references(assets)
        if address:
            code, here = source_code.parse(address), Path(__file__)
            in_repository = here.relative_to(here.parents[2]).as_posix()
            referring = link_code_references_to_git(
                referring,
                code.repository,
                code.revision,
                AnchorBasedFilePathMapping(here, in_repository),
                code.platform,
            )
    return [asset for asset in referring if isinstance(asset, AssetsDefinition | AssetSpec)]


def _location(spec: AssetSpec, settings: Settings) -> dict[str, Any]:
    for table in METRIC_TABLES:
        if spec.key == source_key(table):
            return _bigquery_location(settings, table.source)
    return _postgres_location(settings, spec.metadata["dagster/table_name"])


def _bigquery_location(settings: Settings, table: str) -> dict[str, Any]:
    project, dataset = settings.bigquery_project_id, settings.bigquery_dataset_id
    console = f"https://console.cloud.google.com/bigquery?p={project}&d={dataset}&t={table}&page=table"
    return {
        "dagster/table_name": f"{project}.{dataset}.{table}",
        "dagster/storage_kind": "bigquery",
        "dagster/uri": f"bigquery://{project}/{dataset}/{table}",
        **({} if settings.bigquery_emulator_host else {"bigquery_console": MetadataValue.url(console)}),
    }


def _postgres_location(settings: Settings, table: str) -> dict[str, Any]:
    address = addresses.parse(settings.database_url.get_secret_value())
    options = " ".join(address.normalized_query.get("options", ()))
    search_path = _SEARCH_PATH.search(options)
    schema = search_path[1] if search_path else "public"
    # Only where the server is: the rest of the address has the login and options of the connection.
    query = {name: value for name, value in address.query.items() if name in ("host", "port")}
    server = URL.create("postgresql", None, None, address.host, address.port, address.database, query)
    return {
        "dagster/table_name": f"{address.database}.{schema}.{table}",
        "dagster/storage_kind": "postgres",
        "dagster/uri": addresses.shown(server),
    }
