package ingress_https_only

import data.lib.request

violation[{"msg": msg}] {
  input.review.kind.kind == "Ingress"
  {"extensions", "networking.k8s.io"}[input.review.kind.group]
  request.object
  not https_only
  msg := sprintf(
    "Ingress should be https. tls configuration and allow-http=false annotation are required for %v",
    [request.name],
  )
}

https_only {
  request.object.spec.tls[_]
  request.object.metadata.annotations["kubernetes.io/ingress.allow-http"] == "false"
}
