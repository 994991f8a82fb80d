"""Numbers with their nouns, in messages."""


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """Return a number with its noun: `1 date`, `2 dates`, `1,000 dates`. Regular plurals can be left out."""
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"
