"""The form of the terminal's tables: at most 100 columns wide, one space between them."""

from __future__ import annotations

from tabulate import DataRow, TableFormat

WIDTH = 100

# one space between columns; tabulate pads headers, so the header goes in as a row
NARROW = TableFormat(
    lineabove=None,
    linebelowheader=None,
    linebetweenrows=None,
    linebelow=None,
    headerrow=DataRow("", " ", ""),
    datarow=DataRow("", " ", ""),
    padding=0,
    with_header_hide=None,
)
