"""Writes rows, Parquet files, the report and the card of a dataset, and publishes them."""
