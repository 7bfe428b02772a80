package allowed_external_ips

import data.lib.request

violation[{"msg": msg}] {
  input.review.kind.kind == "Service"
  input.review.kind.group == ""
  forbidden := {address | address := request.object.spec.externalIPs[_]} - allowed
  count(forbidden) > 0
  msg := sprintf("service has forbidden external IPs: %v", [forbidden])
}

# Addresses are compared as they are written.
allowed = {address | address := input.parameters.allowedExternalIPs[_]}
