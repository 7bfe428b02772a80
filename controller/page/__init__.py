"""The page: what the operator knows, for people with a browser. It reads, and writes nothing."""
