"""azpolicy: Azure Policy for any Kubernetes cluster that runs Gatekeeper."""
