"""Checks whether this code can write to a schema that a newer version has migrated.

It can if the newer migrations only added to the schema: all tables and columns of this version are unchanged, and
new columns need no value. Alembic's autogenerate finds the differences between the database and `tables`.
"""

from collections.abc import Iterator
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection, inspect

from engarde_pipeline.postgres.schema.application_schema import UUIDS
from engarde_pipeline.postgres.schema.tables import metadata

_TABLES = metadata.tables.keys() - UUIDS.keys()


def incompatible_changes(connection: Connection) -> list[str]:
    """Return the differences between the database and `tables` that are not additions."""
    context = MigrationContext.configure(
        connection,
        opts={
            "compare_type": True,
            "compare_server_default": True,
            "include_name": lambda name, kind, _: kind != "table" or name in _TABLES,
            "include_object": lambda _item, name, kind, *_: kind != "table" or name in _TABLES,
        },
    )
    differences = compare_metadata(context, metadata)
    steps = [step for each in differences for step in (each if isinstance(each, list) else [each])]
    return [*(_named(step) for step in steps if not _is_addition(step)), *_new_checks(connection)]


def _is_addition(step: tuple[Any, ...]) -> bool:
    """Whether the database only has something more; `step` is the operation that would undo it."""
    match step[0]:
        case "remove_column":
            column = step[3]
            return bool(column.nullable or column.server_default is not None or column.identity is not None)
        case "remove_index" | "add_index":
            return not step[1].unique
        case "add_fk" | "modify_comment" | "add_table_comment" | "remove_table_comment":
            return True
    return False


def _named(step: tuple[Any, ...]) -> str:
    names = [part if isinstance(part, str) else getattr(part, "name", None) for part in step[1:]]
    return " ".join([step[0], *(str(name) for name in names if name)])


def _new_checks(connection: Connection) -> Iterator[str]:
    inspector = inspect(connection)
    for name in sorted(_TABLES):
        known = {item.name for item in metadata.tables[name].constraints if isinstance(item, CheckConstraint)}
        for check in inspector.get_check_constraints(name) if inspector.has_table(name) else ():
            if check["name"] not in known:
                yield f"new check {check['name']} of {name}"
