package host_network_ports

import data.lib.containers
import data.lib.hostnetwork

violation[{"msg": msg}] {
  hostnetwork.unpermitted
  msg := "The pod must not use the host's network: hostNetwork is true."
}

violation[{"msg": msg}] {
  container := containers.checked[_].container
  port := hostnetwork.port(container.ports[_])
  not within(port)
  msg := sprintf("Container %v must not use host port %v; allowed: %v to %v.", [container.name, port, lowest, highest])
}

within(port) {
  port >= lowest
  port <= highest
}

default lowest = 0

lowest = input.parameters.minPort

default highest = 0

highest = input.parameters.maxPort
