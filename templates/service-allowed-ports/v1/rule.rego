package service_allowed_ports

import data.lib.request

# As text, as the list may have numbers or text.
allowed = {sprintf("%v", [port]) | port := input.parameters[["allowedPorts", "allowedServicePorts"][_]][_]}

violation[{"msg": msg}] {
  port := request.object.spec.ports[_].port
  not allowed[sprintf("%v", [port])]
  msg := sprintf("Service %v must not listen on port %v; allowed: %v.", [request.object.metadata.name, port, sort(allowed)])
}
