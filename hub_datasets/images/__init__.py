"""Validates, converts and hashes images, and removes metadata from their files."""
