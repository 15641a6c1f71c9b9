"""Recognizes the layouts of folders that people bring, and reads those of published datasets and their tools."""
