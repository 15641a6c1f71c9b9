"""Accuracy of short answers to questions about medical images. This folder is a complete Space."""
