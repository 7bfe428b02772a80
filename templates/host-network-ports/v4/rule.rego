package host_network_ports

import data.lib.containers
import data.lib.hostnetwork

violation[{"msg": msg}] {
  hostnetwork.unpermitted
  msg := "The pod must not use the host's network: hostNetwork is true."
}

violation[{"msg": msg}] {
  container := containers.checked[_].container
  port := asked(container.ports[_])
  not allowed(port)
  msg := sprintf("Container %v must not use host port %v; allowed: %v.", [container.name, port, listed])
}

# Unlike the range of v3, the parameter's description speaks of 0: though it asks for nothing, the list cannot allow it.
asked(entry) = port {
  port := hostnetwork.port(entry)
} else = 0 {
  entry.hostPort == 0
}

allowed(port) {
  port > 0
  range := ranges[_]
  port >= range.min
  port <= range.max
}

default listed = []

listed = input.parameters.allowedHostPorts

# Entries are single ports or two with a hyphen; all else allows nothing.
ranges = [{"min": ends[0], "max": ends[count(ends) - 1]} |
  entry := listed[_]
  text := sprintf("%v", [entry])
  regex.match(`^\s*[0-9]+\s*(-\s*[0-9]+\s*)?$`, text)
  ends := [to_number(number) | number := regex.find_n(`[1-9][0-9]*|0\b`, text, -1)[_]]
]
