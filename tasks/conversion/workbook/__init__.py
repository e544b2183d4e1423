"""Workbooks as what their sheets show: Excel's packages, OpenDocument spreadsheets, Excel 97-2003 files.

`grid` lays sheets of every format out as tables; the readers of the formats fill them.
"""
