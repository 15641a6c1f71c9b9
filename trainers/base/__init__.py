"""Code shared by both trainers: flags, recipes, output folders, checkpoints, resuming, several processes."""
