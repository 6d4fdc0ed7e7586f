"""LIMIT: which small mix of instruction data makes a language model good under both evaluation paradigms?

The question is that of "LIMIT: Less Is More for Instruction Tuning Across Evaluation Paradigms" (arXiv 2311.13133).
"""

__version__ = "0.1.0"
