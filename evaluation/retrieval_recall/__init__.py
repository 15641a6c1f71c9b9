"""Recall at k with several relevant candidates for a query: a metric that is complete as a Space of its own."""
