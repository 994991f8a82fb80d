"""Encodings: which characters a database that is not in UTF-8 cannot hold."""

import psycopg


def holds_everything(connection: psycopg.Connection) -> bool:
    """Whether every character can be stored; SQL_ASCII takes bytes as they come, and so UTF-8."""
    return connection.info.parameter_status("server_encoding") in ("UTF8", "SQL_ASCII")


def unrepresentable(connection: psycopg.Connection, text: str) -> set[str]:
    """Return the characters of `text` that the database's encoding does not have, as the server itself says."""
    if holds_everything(connection):
        return set()
    characters = sorted({character for character in text if not character.isascii()})
    return _refused(connection, "".join(characters))


def _refused(connection: psycopg.Connection, characters: str) -> set[str]:
    if not characters or _is_taken(connection, characters):
        return set()
    if len(characters) == 1:
        return {characters}
    middle = len(characters) // 2
    return _refused(connection, characters[:middle]) | _refused(connection, characters[middle:])


def _is_taken(connection: psycopg.Connection, characters: str) -> bool:
    try:
        with connection.transaction():
            connection.execute("SELECT %s::text", [characters])
    except (psycopg.errors.UntranslatableCharacter, psycopg.errors.CharacterNotInRepertoire):
        return False
    return True
