"""Speed and memory against a peer in the same run, as a ratio; no test asserts a time."""
