package service_allowed_ports

import data.lib.request

violation[{"msg": msg}] {
  not of_the_api_server
  port := request.object.spec.ports[_].port
  not allowed(port)
  msg := sprintf("Port %v for service %v has not been allowed.", [port, request.name])
}

of_the_api_server {
  request.object.metadata.namespace == "default"
  request.object.metadata.name == "kubernetes"
}

allowed(port) {
  sprintf("%v", [port]) == input.parameters.allowedPorts[_]
}

# An entry a-b has both ends. One with other text beside the numbers has none.
allowed(port) {
  ends := split(input.parameters.allowedPorts[_], "-")
  to_number(ends[0]) <= port
  to_number(ends[1]) >= port
}
