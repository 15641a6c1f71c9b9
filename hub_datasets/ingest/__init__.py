"""Reads each source once, in parallel, and keeps what was read for the next build."""
