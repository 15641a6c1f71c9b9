"""Score, compare, time, review: from models and a dataset to results and a leaderboard."""
