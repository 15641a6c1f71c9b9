"""Reads the rows of the file formats that tables come in: text with delimiters, JSON and Excel workbooks."""
