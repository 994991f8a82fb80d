"""Finds the characters that the encoding of the database cannot represent."""

import psycopg


def holds_everything(connection: psycopg.Connection) -> bool:
    """Whether every character can be stored. SQL_ASCII stores any bytes, and therefore UTF-8."""
    return connection.info.parameter_status("server_encoding") in ("UTF8", "SQL_ASCII")


def unrepresentable(connection: psycopg.Connection, text: str) -> set[str]:
    """Return the characters of `text` that the server cannot convert to the database's encoding."""
    if holds_everything(connection):
        return set()
    characters = sorted({character for character in text if not character.isascii()})
    return _refused(connection, "".join(characters))


def _refused(connection: psycopg.Connection, characters: str) -> set[str]:
    if not characters or _is_representable(connection, characters):
        return set()
    if len(characters) == 1:
        return {characters}
    middle = len(characters) // 2
    return _refused(connection, characters[:middle]) | _refused(connection, characters[middle:])


def _is_representable(connection: psycopg.Connection, characters: str) -> bool:
    try:
        with connection.transaction():
            connection.execute("SELECT %s::text", [characters])
    except (psycopg.errors.UntranslatableCharacter, psycopg.errors.CharacterNotInRepertoire):
        return False
    return True
