"""The operator: loops that keep a cluster as Azure says."""
