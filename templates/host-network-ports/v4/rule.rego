package host_network_ports

import data.lib.containers
import data.lib.pod
import data.lib.request

violation[{"msg": msg}] {
  not pod.windows
  container := containers.all[_]
  not_allowed(container)
  not containers.excluded_by_image(container)
  msg := sprintf(
    "The specified hostNetwork and hostPort are not allowed, pod: %v, container: %v. Allowed values: %v",
    [request.name, container.name, input.parameters],
  )
}

not_allowed(_) {
  pod.spec.hostNetwork == true
  not input.parameters.allowHostNetwork == true
}

not_allowed(container) {
  port := container.ports[_].hostPort
  not allowed(port)
}

# Entries are single ports or two with a hyphen, both ends included. Nothing allows port 0.
allowed(port) {
  entry := sprintf("%v", [input.parameters.allowedHostPorts[_]])
  regex.match("^[0-9]+(-[0-9]+)?$", entry)
  ends := split(entry, "-")
  port > 0
  port >= to_number(ends[0])
  port <= to_number(ends[count(ends) - 1])
}
