package host_network_ports

import data.lib.containers
import data.lib.pod

violation[{"msg": msg}] {
  pod.spec.hostNetwork == true
  not input.parameters.allowHostNetwork == true
  not containers.pod_excluded
  msg := "The pod must not use the host's network: hostNetwork is true."
}

violation[{"msg": msg}] {
  container := containers.checked[_].container
  port := container.ports[_].hostPort
  used(port)
  not within(port)
  msg := sprintf("Container %v must not use host port %v; allowed: %v to %v.", [container.name, port, lowest, highest])
}

# 0 is how Kubernetes writes no host port.
used(port) {
  is_number(port)
  port != 0
}

within(port) {
  port >= lowest
  port <= highest
}

default lowest = 0

lowest = input.parameters.minPort

default highest = 0

highest = input.parameters.maxPort
