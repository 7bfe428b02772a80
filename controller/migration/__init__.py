"""Moves a cluster from the AKS add-on to azpolicy, and back."""
