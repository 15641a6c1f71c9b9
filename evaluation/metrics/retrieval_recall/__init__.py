"""Recall at k for queries with several relevant candidates. This folder is a complete Space."""
