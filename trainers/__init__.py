"""Commands that fine-tune the encoder on pairs and the decoder on chats."""
