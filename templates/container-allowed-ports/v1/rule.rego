package container_allowed_ports

import data.lib.containers

# As text, as the list may have numbers or text.
allowed = {sprintf("%v", [port]) |
  entry := input.parameters[["allowedContainerPorts", "allowedPorts"][_]][_]
  port := ports(entry)[_]
}

# constraint.yaml has to be YAML before the values are in it too, so they come as text.
ports(entry) = list {
  startswith(entry, "[")
  list := json.unmarshal(entry)
} else = [entry]

violation[{"msg": msg}] {
  container := containers.without_ephemeral[_]
  not containers.excluded_by_name(container)
  port := container.ports[_].containerPort
  not allowed[sprintf("%v", [port])]
  msg := sprintf("Container port %v for container %v has not been allowed.", [port, container.name])
}
