package service_allowed_ports

import data.lib.request

violation[{"msg": msg}] {
  not of_the_api_server
  port := request.object.spec.ports[_].port
  not allowed[sprintf("%v", [port])]
  msg := sprintf("Port %v for service %v has not been allowed.", [port, request.name])
}

of_the_api_server {
  request.object.metadata.namespace == "default"
  request.object.metadata.name == "kubernetes"
}

# As text, as the list may have numbers or text.
allowed = {sprintf("%v", [port]) | port := input.parameters[["allowedPorts", "allowedServicePorts"][_]][_]}
