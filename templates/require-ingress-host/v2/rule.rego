package require_ingress_host

import data.lib.request

violation[{"msg": msg}] {
  rule := request.object.spec.rules[place]
  not has_host(rule)
  msg := sprintf("Ingress %v must name a host in spec.rules[%v]: without one it serves every host.", [request.name, place])
}

has_host(rule) {
  is_string(rule.host)
  rule.host != ""
}
