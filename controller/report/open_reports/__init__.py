"""Reports of policies in the form that dashboards read: OpenReports, and the PolicyReport API before it."""
