"""Accuracy of short answers to questions about medical images: a metric that is complete as a Space of its own."""
