"""Turns records into conversations, in our columns and in LLaMA-Factory's."""
