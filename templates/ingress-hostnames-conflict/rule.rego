package ingress_hostnames_conflict

import data.lib.request

violation[{"msg": msg}] {
  host := request.object.spec.rules[_].host
  host != ""
  taken := [concat("/", [namespace, name]) |
    ingress := data.inventory.namespace[namespace][version].Ingress[name]
    namespace != request.namespace
    groups[split(version, "/")[0]]
    host == ingress.spec.rules[_].host
  ]
  count(taken) > 0
  named := [request.name, host, concat(", ", sort(taken))]
  msg := sprintf("Ingress %v must not use the host %v: another namespace has it in %v.", named)
}

groups = {"networking.k8s.io", "extensions"}
