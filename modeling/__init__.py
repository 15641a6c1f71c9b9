"""What is fitted: classes that travel to the Hub with their weights."""
