package ingress_https_only

import data.lib.request

violation[{"msg": msg}] {
  ingress := request.object
  not has_tls(ingress)
  msg := sprintf("Ingress %v must have spec.tls.", [ingress.metadata.name])
}

violation[{"msg": msg}] {
  ingress := request.object
  not refuses_http(ingress)
  msg := sprintf("Ingress %v must have the annotation kubernetes.io/ingress.allow-http: \"false\".", [ingress.metadata.name])
}

has_tls(ingress) {
  count(ingress.spec.tls) > 0
}

refuses_http(ingress) {
  lower(ingress.metadata.annotations["kubernetes.io/ingress.allow-http"]) == "false"
}
