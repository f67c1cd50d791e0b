"""Tables, curves and pages from result records; the only room with percent signs."""

from marginface.report.page import comparison_page, write_comparison_page
from marginface.report.pictures import contact_sheet, encode_picture
from marginface.report.tables import comparison_table, evaluation_table, markdown_table

__all__ = [
    "comparison_page",
    "comparison_table",
    "contact_sheet",
    "encode_picture",
    "evaluation_table",
    "markdown_table",
    "write_comparison_page",
]
