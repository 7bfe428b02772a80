package load_balancer_no_public_ips

import data.lib.request

violation[{"msg": msg}] {
  request.object.spec.type == "LoadBalancer"
  not internal
  named := [request.name, annotation]
  msg := sprintf("Service %v must be of an internal load balancer: set the annotation %v: \"true\".", named)
}

annotation = "service.beta.kubernetes.io/azure-load-balancer-internal"

# Azure takes every other value, "True" too, for a public one.
internal {
  request.object.metadata.annotations[annotation] == "true"
}
