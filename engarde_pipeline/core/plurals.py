"""Numbers with their nouns, in messages."""


def counted(number: int, singular: str) -> str:
    """Return a number with its noun: `1 date`, `2 dates`, `1,000 dates`."""
    return f"{number:,} {singular if number == 1 else f'{singular}s'}"
