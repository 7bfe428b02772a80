package allowed_external_ips

import data.lib.request

allowed = {address | address := input.parameters.allowedExternalIPs[_]}

violation[{"msg": msg}] {
  address := request.object.spec.externalIPs[_]
  not allowed[address]
  msg := sprintf("Service %v must not have the external IP %v; allowed: %v.", [request.object.metadata.name, address, sort(allowed)])
}
