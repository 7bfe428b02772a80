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
  port := host_port(container.ports[_])
  not within(port)
  msg := sprintf("Container %v must not use host port %v; allowed: %v to %v.", [container.name, port, lowest, highest])
}

# 0 is how Kubernetes writes no host port; on the host's network each container port is one, unless another is set.
host_port(port) = port.hostPort {
  is_number(port.hostPort)
  port.hostPort != 0
} else = port.containerPort {
  pod.spec.hostNetwork == true
}

within(port) {
  port >= lowest
  port <= highest
}

default lowest = 0

lowest = input.parameters.minPort

default highest = 0

highest = input.parameters.maxPort
