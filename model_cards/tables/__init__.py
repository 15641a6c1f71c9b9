"""Lays out the tables of cards, pages and the leaderboard."""
