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
  not allowed(port)
  msg := sprintf("Container %v must not use host port %v; allowed: %v.", [container.name, port, listed])
}

# On the host's network Kubernetes makes each container port a host port, unless another is set.
host_port(port) = port.hostPort {
  is_number(port.hostPort)
  port.hostPort != 0
} else = port.containerPort {
  pod.spec.hostNetwork == true
} else = 0 {
  port.hostPort == 0
}

# 0, though it asks for nothing, is no port that the list can allow.
allowed(port) {
  port > 0
  range := ranges[_]
  port >= range.min
  port <= range.max
}

default listed = []

listed = input.parameters.allowedHostPorts

ranges = [{"min": ends[0], "max": ends[count(ends) - 1]} |
  entry := listed[_]
  text := sprintf("%v", [entry])
  regex.match(`^\s*[0-9]+\s*(-\s*[0-9]+\s*)?$`, text)
  ends := [to_number(number) | number := regex.find_n(`[1-9][0-9]*|0\b`, text, -1)[_]]
]
