"""Reads Parquet files whose cells are images, as if each image were a file."""
