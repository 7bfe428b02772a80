package load_balancer_no_public_ips

import data.lib.request

violation[{"msg": msg}] {
  request.object
  not allowed
  msg := sprintf(
    "Load Balancers should not have public IPs. azure-load-balancer-internal annotation is required for %v",
    [request.name],
  )
}

# What has no type is none of the others.
allowed {
  request.object.spec.type != "LoadBalancer"
}

# Azure takes every other value, "True" too, for a public one.
allowed {
  request.object.spec.type == "LoadBalancer"
  request.object.metadata.annotations["service.beta.kubernetes.io/azure-load-balancer-internal"] == "true"
}
