"""Keeps what a measurement consists of: answers as they are made, hashes of all that they rest on, and the machine."""
