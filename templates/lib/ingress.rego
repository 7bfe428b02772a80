package lib.ingress

import data.lib.request

# How an Ingress of a controller that is known here serves plain HTTP, one message for each of the controllers.
serves_http[msg] {
  judged
  application_gateway
  not has_certificate
  msg := sprintf("Ingress should allow https only. tls configuration is required for %v", [request.name])
}

serves_http[msg] {
  judged
  nginx
  not nginx_is_secure
  msg := sprintf(
    "Ingress should allow https only. tls configuration and annotation %v=true are required for %v",
    [force_ssl_redirect, request.name],
  )
}

judged {
  input.review.kind.kind == "Ingress"
  {"extensions", "networking.k8s.io"}[input.review.kind.group]
}

spec = request.object.spec

annotation(key) = request.object.metadata.annotations[key]

force_ssl_redirect = "nginx.ingress.kubernetes.io/force-ssl-redirect"

class = annotation("kubernetes.io/ingress.class")

has_tls {
  spec.tls[_]
}

# Application Gateway is known by the annotation alone.
application_gateway {
  class == "azure/application-gateway"
}

has_certificate {
  has_tls
}

has_certificate {
  annotation("appgw.ingress.kubernetes.io/appgw-ssl-certificate")
}

# The field is what nginx reads; the annotation counts where there is none.
nginx {
  spec.ingressClassName == "nginx"
}

nginx {
  not spec.ingressClassName
  class == "nginx"
}

nginx_is_secure {
  nginx_redirects
  nginx_encrypts
}

nginx_redirects {
  annotation(force_ssl_redirect) == "true"
}

# nginx redirects of itself where there is a certificate, which belongs to a host.
nginx_redirects {
  not unredirected
  spec.rules
  count([rule | rule := spec.rules[_]; not rule.host]) == 0
}

unredirected {
  annotation("nginx.ingress.kubernetes.io/ssl-redirect") == "false"
}

nginx_encrypts {
  has_tls
}

nginx_encrypts {
  annotation("nginx.ingress.kubernetes.io/auth-tls-secret")
}

# The pods have the certificate.
nginx_encrypts {
  annotation("nginx.ingress.kubernetes.io/ssl-passthrough") == "true"
}
