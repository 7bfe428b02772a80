"""`azpolicy check`: what would become of manifests, told before they reach a cluster."""
