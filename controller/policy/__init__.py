"""What an assignment means for this cluster: pure functions from Azure's types to effective policies."""
