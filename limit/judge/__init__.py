"""Verdicts on pairs of answers: importing, asking, counting and checking them."""
