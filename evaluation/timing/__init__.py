"""Times models beside the plain loop of transformers, and measures their memory."""
