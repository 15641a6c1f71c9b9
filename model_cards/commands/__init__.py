"""What every command shares: its parser, names of folders and repositories, and the files that it wrote."""
