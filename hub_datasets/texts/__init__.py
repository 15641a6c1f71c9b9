"""Validates texts and finds identifiers of persons in them."""
