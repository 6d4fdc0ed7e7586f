"""How a sample becomes tokens and rows: one code for training, for previews, for counting and for generation."""
