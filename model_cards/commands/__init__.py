"""Shared by all commands: the parser, names of folders and repositories, and the files that a command wrote."""
