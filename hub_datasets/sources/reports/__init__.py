"""Reads tables and files of radiology reports: their columns, rows and languages, and the XML of Open-i."""
