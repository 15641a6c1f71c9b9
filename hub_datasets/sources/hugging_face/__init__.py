"""Reads the layouts of `datasets` and the Hub: Parquet files, image folders, WebDataset, and this project's export."""
