"""Prompt sets and the answers that runs give to them."""
