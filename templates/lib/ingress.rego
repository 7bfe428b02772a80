package lib.ingress

import data.lib.request

# What lets an Ingress answer over HTTP too, as what it must have instead.
lacks_for_https["spec.tls"] {
  request.object
  not has_tls
}

lacks_for_https["the annotation kubernetes.io/ingress.allow-http: \"false\""] {
  request.object
  not refuses_http
}

has_tls {
  count(request.object.spec.tls) > 0
}

refuses_http {
  lower(request.object.metadata.annotations["kubernetes.io/ingress.allow-http"]) == "false"
}
