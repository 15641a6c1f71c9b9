"""Tests, in folders and files that mirror the project's; `tests.hub_server` is the Hub they run against."""
