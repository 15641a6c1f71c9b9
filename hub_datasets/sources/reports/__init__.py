"""Reads tables and files of radiology reports: their columns, rows, languages, and Open-i's XML."""
