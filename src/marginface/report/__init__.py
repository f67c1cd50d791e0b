"""Tables, curves and pages from result records; the only room with percent signs."""

from marginface.report.cells import Grid
from marginface.report.exports import csv_table, latex_tables, markdown_tables
from marginface.report.grids import grids_of
from marginface.report.page import comparison_page, write_comparison_page
from marginface.report.pictures import contact_sheet, encode_picture
from marginface.report.records import COMPARISON, System, kind_of, read_record, systems_of
from marginface.report.records_page import records_page, write_records_page
from marginface.report.tables import (
    comparison_table,
    evaluation_table,
    grid_tables,
    markdown_table,
)

__all__ = [
    "COMPARISON",
    "Grid",
    "System",
    "comparison_page",
    "comparison_table",
    "contact_sheet",
    "csv_table",
    "encode_picture",
    "evaluation_table",
    "grid_tables",
    "grids_of",
    "kind_of",
    "latex_tables",
    "markdown_table",
    "markdown_tables",
    "read_record",
    "records_page",
    "systems_of",
    "write_comparison_page",
    "write_records_page",
]
