"""The only room that talks to Kubernetes: inventory, decisions, writes, watches."""
