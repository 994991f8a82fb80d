"""Checks that the application's tables meet the pipeline's requirements, with one query of the catalog.

Text of any type is read as text (see `application_tables`), and totals that cannot be written are left to the
application. Everything else that does not meet the requirements is reported with the cure, one line per column.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
from psycopg.rows import kwargs_row

from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS, CTR, ROAS

UUIDS = {
    "tenants": ("id",),
    "campaign_spaces": ("id", "tenant_id"),
    "campaign_assets": ("id", "campaign_space_id"),
}
"""The application's tables, and their columns that must be uuids."""

TEXTS = {
    "tenants": (),
    "campaign_spaces": ("platform", "external_campaign_id"),
    "campaign_assets": ("external_asset_id",),
}
"""The columns that are read as text, whatever their type."""

TOTALS = {
    **{f"total_{name}": name for name in CAMPAIGN_METRICS.measure_names},
    "avg_ctr": CTR.name,
    "avg_roas": ROAS.name,
}
_MONEY = {measure.name for measure in CAMPAIGN_METRICS.measures if measure.is_money}
"""The columns of `campaign_spaces` for the totals, with the measure or ratio of each."""

LAST_UPDATED = "performance_last_updated"


class ApplicationUnfit(EngardeError):
    """The application's tables do not meet the requirements; the message names each column with the cure."""


@dataclass(frozen=True)
class Column:
    """A column of an application table. `category` is that of `pg_type`: N is a number, D a date or a time."""

    type: str
    category: str
    is_uuid: bool
    is_generated: bool
    is_not_null: bool

    @property
    def accepts_numbers(self) -> bool:
        """Whether a total can be written to it."""
        return self.category == "N" and not self.is_generated

    @property
    def accepts_times(self) -> bool:
        """Whether the time of the last update can be written to it."""
        return self.category == "D" and not self.is_generated


@dataclass(frozen=True)
class Table:
    """One of the application's tables, as the search_path finds it; `schema` is None if it finds none.

    `kind` is that of `pg_class`. `has_key`: a foreign key can refer to `id`. `inheriting`: tables that inherit
    from it, whose rows are read with it although no foreign key can refer to them. `has_update_rule`: a rule
    replaces updates. `referenced`: the columns that refer to a table other than the required one, which does not
    exist. `foreign_keys`: the columns that have a foreign key. `elsewhere`: other schemas with a table of this
    name, and whether the role may use them. `quoted`: tables whose name differs only by upper case.
    """

    name: str
    schema: str | None
    kind: str
    is_unlogged: bool
    columns: dict[str, Column]
    has_key: bool
    inheriting: list[str]
    has_update_rule: bool
    referenced: dict[str, str]
    foreign_keys: list[str]
    elsewhere: dict[str, bool]
    quoted: list[str]
    search_path: str


# A domain has the category and the output function of its base type.
_TABLES = """
SELECT wanted.name, n.nspname AS schema, coalesce(c.relkind::text, '') AS kind,
       coalesce(c.relpersistence = 'u', false) AS is_unlogged,
       (SELECT coalesce(jsonb_object_agg(a.attname, jsonb_build_object(
                   'type', format_type(a.atttypid, a.atttypmod),
                   'category', t.typcategory,
                   'is_uuid', t.typoutput = 'uuid_out'::regproc,
                   'is_generated', a.attgenerated <> '' OR a.attidentity = 'a',
                   'is_not_null', a.attnotnull OR t.typnotnull)), '{}')
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
       EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'id'
               WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid
                 AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum) AS has_key,
       ARRAY(SELECT h.inhrelid::regclass::text FROM pg_inherits h
             WHERE h.inhparent = c.oid AND c.relkind = 'r') AS inheriting,
       EXISTS (SELECT FROM pg_rewrite r
               WHERE r.ev_class = c.oid AND r.ev_type = '2' AND r.is_instead) AS has_update_rule,
       (SELECT coalesce(jsonb_object_agg(a.attname, f.confrelid::regclass::text), '{}')
        FROM pg_constraint f
        JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = f.conkey[1]
        JOIN (VALUES ('tenant_id', 'tenants'), ('campaign_space_id', 'campaign_spaces')) AS meant (name, target)
            ON meant.name = a.attname AND to_regclass(meant.target) IS NULL
        WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.conparentid = 0 AND cardinality(f.conkey) = 1
       ) AS referenced,
       ARRAY(SELECT a.attname::text FROM pg_constraint f
             JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = ANY(f.conkey)
             WHERE f.conrelid = c.oid AND f.contype = 'f') AS foreign_keys,
       (SELECT coalesce(jsonb_object_agg(s.nspname, has_schema_privilege(s.oid, 'USAGE')), '{}')
        FROM pg_class o JOIN pg_namespace s ON s.oid = o.relnamespace
        WHERE o.relname = wanted.name AND o.relkind IN ('r', 'p', 'v', 'm', 'f')
          AND o.oid IS DISTINCT FROM c.oid AND s.nspname !~ '^(pg_|engarde_api$)') AS elsewhere,
       ARRAY(SELECT quote_ident(s.nspname) || '.' || quote_ident(o.relname)
             FROM pg_class o JOIN pg_namespace s ON s.oid = o.relnamespace
             WHERE lower(o.relname) = wanted.name AND o.relname <> wanted.name AND o.relkind IN ('r', 'p')
       ) AS quoted,
       current_setting('search_path') AS search_path
FROM unnest(%s::text[]) AS wanted (name)
LEFT JOIN pg_class c ON c.oid = to_regclass(wanted.name)
LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
"""

_REFERENCES = {"tenant_id": "tenants", "campaign_space_id": "campaign_spaces"}
_CASCADES = (("campaign_spaces", "tenant_id"), ("campaign_assets", "campaign_space_id"))
"""The columns by whose foreign keys a deletion reaches the metric tables."""

_KINDS = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "S": "a sequence",
    "i": "an index",
    "I": "an index",
    "c": "a type",
}


def read(connection: psycopg.Connection) -> dict[str, Table]:
    """Return the application's three tables, by name."""
    with connection.cursor(row_factory=kwargs_row(_table)) as cursor:
        return {table.name: table for table in cursor.execute(_TABLES, [list(UUIDS)])}


def check(connection: psycopg.Connection, *, may_be_missing: bool = False) -> dict[str, Table]:
    """Check that the pipeline can read the application's tables and write its totals; return the tables.

    `may_be_missing` is true before the first upgrade, which creates missing tables and total columns.

    Raises:
        ApplicationUnfit: the tables do not meet the requirements.
    """
    tables = read(connection)
    if problems := [line for table in tables.values() for line in _problems(table, may_be_missing)]:
        raise ApplicationUnfit(
            "\n  ".join(["The application's tables do not meet the requirements of the pipeline:", *problems])
        )
    return tables


def writable_totals(campaign_spaces: Table) -> dict[str, str]:
    """Return the total columns that can be written, with the measure or ratio of each."""
    columns = campaign_spaces.columns
    return {name: total for name, total in TOTALS.items() if name in columns and columns[name].accepts_numbers}


def adaptations(tables: dict[str, Table]) -> list[str]:
    """Return how the pipeline adapts to the application's tables, one sentence each."""
    columns = tables["campaign_spaces"].columns
    sentences = [
        f"{table}.{column} has no foreign key, so if a row of {_REFERENCES[column]} is deleted, its metrics stay"
        f" until its rows of {table} are deleted, too"
        for table, column in _CASCADES
        if column not in tables[table].foreign_keys
    ]
    for name in TOTALS:
        column = columns.get(name)
        if column is None:
            sentences.append(f"campaign_spaces.{name} does not exist, so it is not written")
        elif not column.accepts_numbers:
            sentences.append(f"campaign_spaces.{name} is {_description(column)}, so it is left to the application")
        elif column.is_not_null and name in ("avg_ctr", "avg_roas"):
            sentences.append(f"campaign_spaces.{name} is NOT NULL, so it is 0 if the ratio does not exist")
        elif column.is_not_null and TOTALS[name] in _MONEY:
            sentences.append(
                f"campaign_spaces.{name} is NOT NULL, so the totals of a campaign space with rows in several"
                " currencies are not updated"
            )
    return sentences


def _problems(table: Table, may_be_missing: bool) -> Iterator[str]:
    if table.schema is None:
        yield from _missing(table, may_be_missing)
        return
    if table.kind not in ("r", "p"):
        yield (
            f"{table.name} is {_KINDS.get(table.kind, 'no table')} in schema {table.schema}, but must be a table,"
            " because foreign keys refer to it: rename the view, and give the table behind it this name"
            " (ALTER VIEW ... RENAME TO ...; ALTER TABLE ... RENAME TO ...)."
        )
        return
    if table.is_unlogged:
        yield f"{table.name} is unlogged, but foreign keys refer to it: ALTER TABLE {table.name} SET LOGGED;"
    for child in table.inheriting:
        yield (
            f"{child} inherits from {table.name}, so its rows appear there, but foreign keys cannot refer to them:"
            f" ALTER TABLE {child} NO INHERIT {table.name};"
        )
    for column in UUIDS[table.name]:
        if column not in table.columns:
            yield _no_column(table.name, column, "uuid")
        elif not table.columns[column].is_uuid:
            yield (
                f"{table.name}.{column} is {table.columns[column].type}, but must be uuid:"
                f" ALTER TABLE {table.name} ALTER COLUMN {column} TYPE uuid USING {column}::text::uuid;"
                " (with the keys that refer to it)."
            )
    for column, other in (
        (name, table.referenced[name]) for name in UUIDS[table.name] if name in table.referenced
    ):
        yield (
            f"{table.name}.{column} refers to {other}, but there is no table {_REFERENCES[column]}:"
            f" ALTER TABLE {other} RENAME TO {_REFERENCES[column]}; (a view can keep the other name)."
        )
    for column in TEXTS[table.name]:
        if column not in table.columns:
            yield _no_column(table.name, column, "text")
    if "id" in table.columns and not table.has_key and table.kind == "p":
        yield (
            f"{table.name}.id has no primary key or unique constraint of its own, which foreign keys require and a"
            " partitioned table has only if it is partitioned by id: partition it by hash of id, or not at all."
        )
    elif "id" in table.columns and not table.has_key:
        yield (
            f"{table.name}.id has no primary key or unique constraint of its own that is not deferrable, which"
            f" foreign keys require: ALTER TABLE {table.name} ADD UNIQUE (id);"
        )
    if table.name == "campaign_spaces":
        yield from _unwritable(table, may_be_missing)


def _missing(table: Table, may_be_missing: bool) -> Iterator[str]:
    if closed := [schema for schema, may_use in table.elsewhere.items() if not may_use]:
        yield (
            f"{table.name} is in schema {closed[0]}, which this role may not use: GRANT USAGE ON SCHEMA"
            f" {closed[0]} TO the role; and put the schema into its search_path."
        )
    elif table.elsewhere:
        yield (
            f"{table.name} is in schema {' and '.join(table.elsewhere)}, which is not in the search_path"
            f" ({table.search_path}), so the table is not found: ALTER DATABASE ... SET"
            f" search_path = {', '.join(table.elsewhere)}, ...;"
        )
    elif table.quoted:
        yield (
            f"{table.name} is named {' and '.join(table.quoted)}, which is a different name in Postgres:"
            f" ALTER TABLE {table.quoted[0]} RENAME TO {table.name};"
        )
    elif not may_be_missing:
        yield (
            f"{table.name} does not exist in any schema of the search_path ({table.search_path}): add its schema"
            " to the search_path of this role, or create the table again."
        )


def _unwritable(table: Table, may_be_missing: bool) -> Iterator[str]:
    if table.has_update_rule:
        yield (
            "campaign_spaces has a rule ON UPDATE DO INSTEAD, so no total can be written: DROP RULE ... ON"
            " campaign_spaces; (a trigger can do the same)."
        )
    will_be_added = may_be_missing and not TOTALS.keys() <= table.columns.keys()
    if not writable_totals(table) and not will_be_added:
        yield (
            f"campaign_spaces has no column that a total can be written to: {', '.join(TOTALS)} are missing,"
            " generated, or not numeric. ALTER TABLE campaign_spaces ADD total_impressions bigint; or make one"
            " of them a regular column."
        )


def _no_column(table: str, column: str, kind: str) -> str:
    return (
        f"{table} has no column {column} ({kind}). Add it or, if it has another name, ALTER TABLE {table} ADD"
        f" {column} {kind} GENERATED ALWAYS AS (the_other_name) STORED;"
    )


def _description(column: Column) -> str:
    return "a generated column" if column.is_generated else f"of type {column.type}"


def _table(columns: dict[str, dict[str, object]], **values: object) -> Table:
    return Table(columns={name: Column(**column) for name, column in columns.items()}, **values)  # type: ignore[arg-type]
