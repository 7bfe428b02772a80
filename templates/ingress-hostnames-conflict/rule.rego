package ingress_hostnames_conflict

import data.lib.request

violation[{"msg": msg}] {
  input.review.kind.kind == "Ingress"
  groups[input.review.kind.group]
  host := request.object.spec.rules[_].host
  ingress := data.inventory.namespace[namespace][version].Ingress[name]
  groups[split(version, "/")[0]]
  host == ingress.spec.rules[_].host
  [namespace, name] != [request.namespace, request.name]
  msg := sprintf("ingress host conflicts with an existing ingress <%v>", [host])
}

groups = {"extensions", "networking.k8s.io"}
