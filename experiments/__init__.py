"""Runnable answers to questions of the paper or of a user: python -m experiments.NAME."""
