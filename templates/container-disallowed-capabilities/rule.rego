package container_disallowed_capabilities

import data.lib.containers

violation[{"msg": msg}] {
  container := containers.without_ephemeral[_]
  disallowed(container, input.parameters.disallowedCapabilities[_])
  msg := sprintf(
    "container <%v> has a disallowed capability. Allowed capabilities are %v",
    [container.name, input.parameters.disallowedCapabilities],
  )
}

# The star is for each container, whatever it adds.
disallowed(_, "*")

disallowed(container, name) {
  container.securityContext.capabilities.add[_] == name
}
