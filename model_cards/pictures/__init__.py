"""Charts and contact sheets of the dataset card, with fonts for their labels."""
