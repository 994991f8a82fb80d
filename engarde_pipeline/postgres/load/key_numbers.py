"""Assigns an integer to each distinct combination of key columns, the same in every batch."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc


class _Numbering:
    """Numbers for the distinct values of one column, including NULL, in order of first appearance."""

    def __init__(self) -> None:
        self.values: pa.Array = None

    def of(self, column: pa.Array) -> pa.Array:
        """Return the number of each value of `column` (int64), assigning numbers to new values."""
        known = column[:0] if self.values is None else self.values
        numbers = pc.index_in(column, value_set=known)
        if numbers.null_count:
            new = pc.unique(column.filter(numbers.is_null()))
            self.values = pa.concat_arrays([known, new])
            numbers = pc.index_in(column, value_set=self.values)
        return numbers.cast(pa.int64())


class KeyNumbers:
    """Numbers for combinations of key columns.

    Columns are paired from left to right: the number of (a, b) is the number of the pair of their numbers. Two
    keys therefore have the same number only if they are equal, whatever characters they contain.
    """

    def __init__(self, columns: int) -> None:
        self._columns = [_Numbering() for _ in range(columns)]
        self._pairs = [_Numbering() for _ in range(columns - 1)]

    def of(self, columns: Sequence[pa.Array]) -> pa.Array:
        """Return the key number of each row (int64)."""
        numbers = self._columns[0].of(columns[0])
        for column, numbering, pairs in zip(columns[1:], self._columns[1:], self._pairs, strict=True):
            numbers = pairs.of(pc.bit_wise_or(pc.shift_left(numbers, 32), numbering.of(column)))
        return numbers

    def distinct(self) -> list[pa.Array]:
        """Return the key columns of all numbers assigned so far, at least one: row n is the key with number n."""
        last = (self._pairs or self._columns)[-1]
        numbers = pa.array(range(len(last.values)), pa.int64())
        columns = []
        for numbering, pairs in zip(reversed(self._columns[1:]), reversed(self._pairs), strict=True):
            both = pairs.values.take(numbers)
            columns.append(numbering.values.take(pc.bit_wise_and(both, 0xFFFFFFFF)))
            numbers = pc.shift_right(both, 32)
        columns.append(self._columns[0].values.take(numbers))
        return columns[::-1]
