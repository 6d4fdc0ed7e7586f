"""What may be said: differences that are real, sizes that suffice, and sentences bound to the numbers behind them."""
