"""What both trainers share: flags, recipes, output folders, checkpoints, resuming, several processes."""
