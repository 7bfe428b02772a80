"""From effective policies to Gatekeeper's objects: naming, manifests, template sources."""
