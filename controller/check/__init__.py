"""`azpolicy check`: judges manifests before they reach a cluster."""
