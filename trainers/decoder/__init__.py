"""Fine-tunes a vision-language model on chats about images."""
