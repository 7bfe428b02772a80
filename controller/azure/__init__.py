"""What Azure says: the types of Azure Policy, and the readers that fill them from a snapshot or from Azure itself."""
