"""Opens models of any family, adapters, addresses and files of predictions as one of two things: encoder, answerer."""
