package host_network_ports

import data.lib.containers
import data.lib.pod
import data.lib.request

violation[{"msg": msg}] {
  container := containers.without_ephemeral[_]
  not_allowed(container)
  msg := sprintf(
    "The specified hostNetwork and hostPort are not allowed, pod: %v, container: %v. Allowed values: %v",
    [request.name, container.name, input.parameters],
  )
}

not_allowed(_) {
  pod.spec.hostNetwork == true
  not input.parameters.allowHostNetwork == true
}

# Each bound counts only where its parameter is set.
not_allowed(container) {
  container.ports[_].hostPort < input.parameters.minPort
}

not_allowed(container) {
  container.ports[_].hostPort > input.parameters.maxPort
}
