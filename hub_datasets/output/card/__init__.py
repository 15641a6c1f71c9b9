"""Gathers from the rows what the dataset card shows beside their numbers: samples, baselines and subgroups."""
