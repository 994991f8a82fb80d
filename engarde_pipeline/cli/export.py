"""`engarde export`: writes metrics from Postgres to a CSV, Parquet or JSON file."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engarde_pipeline.cli.servers import database
from engarde_pipeline.cli.terminal import EndDate, StartDate, console, range_of_dates
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.core.plurals import counted

if TYPE_CHECKING:
    import psycopg

    from engarde_pipeline.postgres.reads.metric_rows import MetricRows


_ROWS_PER_UPDATE = 5_000
"""How many rows the progress bar moves at once, because moving it takes longer than writing a row."""


class Format(StrEnum):
    """The formats of an export."""

    CSV = "csv"
    PARQUET = "parquet"
    JSON = "json"


class Grouping(StrEnum):
    """What the rows of an export are the sums of."""

    DATE = "date"
    CAMPAIGN = "campaign"
    ASSET = "asset"
    PLATFORM = "platform"


class OutputUnusable(EngardeError):
    """The output file cannot be written."""


def export(
    start: StartDate,
    end: EndDate = None,
    *,
    output_format: Annotated[Format, typer.Option("--format", help="The format of the file.")],
    output: Annotated[
        Path,
        typer.Option(dir_okay=False, help="The file to write. An existing file is replaced at the end."),
    ],
    tenant: Annotated[str | None, typer.Option(help="Export only this tenant (name or UUID).")] = None,
    platform: Annotated[
        list[str] | None, typer.Option(help="Export only this ad platform. Can be repeated.")
    ] = None,
    group_by: Annotated[
        Grouping | None,
        typer.Option(
            help="Write sums per tenant, group and currency. Without it, a row per campaign (or asset) and date."
        ),
    ] = None,
    assets: Annotated[
        bool, typer.Option("--assets", help="Export the metrics of assets instead of those of campaigns.")
    ] = False,
) -> None:
    """Write the metrics from --start to --end to a file, as they are in Postgres.

    Rows are streamed, so an export of any size needs little memory. Amounts are exact. The file appears when it is
    complete. JSON is an array with one object per line.

    Example: `engarde export --start 2026-11-01 --end 2026-11-23 --format csv --output metrics.csv`
    """
    from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS
    from engarde_pipeline.postgres.connection import connect
    from engarde_pipeline.postgres.load.scope import resolve_scope
    from engarde_pipeline.postgres.reads.metric_rows import MetricRows
    from engarde_pipeline.postgres.schema import migrate

    if group_by is Grouping.ASSET and not assets:
        raise typer.BadParameter("--group-by asset needs --assets.")
    dates = range_of_dates(start, end)
    with database() as settings:
        database_url = settings.database_url.get_secret_value()
        migrate.check(database_url)
        with connect(database_url) as connection, _replaced(output) as unfinished:
            scope = resolve_scope(connection, tenant, platform or [], [])
            rows = MetricRows(
                dates[0],
                dates[-1],
                scope.tenant_id,
                scope.platforms,
                group_by.value if group_by else None,
                ASSET_METRICS if assets else CAMPAIGN_METRICS,
            )
            written = _write(connection, rows, output_format, unfinished)
    console.print(f"{output}: {counted(written, 'row')}, {decimal(output.stat().st_size)}.")
    if not written:
        console.print("There are no metrics for this selection. `engarde status` shows which dates are synced.")


@contextmanager
def _replaced(output: Path) -> Iterator[Path]:
    """Yield the path of a temporary file beside `output`, which replaces `output` at the end."""
    unfinished = output.with_name(f".{output.name}.unfinished")
    try:
        yield unfinished
        unfinished.replace(output)
    except OSError as error:
        reason = error.strerror or error
        raise OutputUnusable(f"{output} cannot be written: {reason}. Choose another --output.") from None
    finally:
        unfinished.unlink(missing_ok=True)


def _write(connection: "psycopg.Connection", rows: "MetricRows", output_format: Format, path: Path) -> int:
    write = {Format.CSV: _write_csv, Format.PARQUET: _write_parquet, Format.JSON: _write_json}[output_format]
    # The groups are counted only by computing them, so the bar of grouped rows has no end.
    total = None if rows.group_by else rows.count(connection)
    written = shown = 0
    with _progress() as progress:
        bar = progress.add_task("exporting", total=total)
        for count in write(connection, rows, path):
            written += count
            if written - shown >= _ROWS_PER_UPDATE:
                progress.update(bar, completed=written)
                shown = written
        progress.update(bar, completed=written, total=written)
    return written


def _write_csv(connection: "psycopg.Connection", rows: "MetricRows", path: Path) -> Iterator[int]:
    with path.open("wb") as file:
        lines = rows.csv(connection)
        file.write(next(lines))
        for line in lines:
            file.write(line)
            yield 1


def _write_json(connection: "psycopg.Connection", rows: "MetricRows", path: Path) -> Iterator[int]:
    with path.open("w", encoding="utf-8") as file:
        separator = "[\n"
        for row in rows.json(connection):
            file.write(separator + row)
            separator = ",\n"
            yield 1
        file.write("\n]\n" if separator != "[\n" else "[]\n")


def _write_parquet(connection: "psycopg.Connection", rows: "MetricRows", path: Path) -> Iterator[int]:
    from pyarrow import parquet

    with parquet.ParquetWriter(path, rows.schema) as writer:
        for batch in rows.batches(connection):
            writer.write_batch(batch)
            yield batch.num_rows


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
        console=console,
    )
