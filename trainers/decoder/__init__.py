"""Fits a vision-language model on chats about images."""
