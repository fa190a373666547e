"""A table for programs: its numbers unrounded, one value to a column, names and rows only, without sums."""

import csv
import io

from sasa_cli.rendering.table import Table, values_of


def to_csv(table: Table) -> str:
    """CSV that every reader of CSV takes; empty where there is no value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for column in table.columns for name in column.csv_names])
    for place, row in enumerate(table.rows):
        if place in table.sums:
            continue
        line: list[object] = []
        for entry, column in zip(row, table.columns, strict=True):
            if column.csv_names:
                values = values_of(entry)
                # An interval that is absent as a whole is one text, for as many names as it would have values.
                line += values if len(values) == len(column.csv_names) else ("",) * len(column.csv_names)
        writer.writerow(["" if value is None else value for value in line])
    return text.getvalue()
