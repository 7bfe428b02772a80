package container_allowed_capabilities

import data.lib.containers

allowed_capabilities = object.get(input.parameters, "allowedCapabilities", "NONE")

violation[{"msg": msg}] {
  container := containers.without_ephemeral[_]
  name := container.securityContext.capabilities.add[_]
  not allowed(name)
  msg := sprintf(
    "container <%v> has a disallowed capability. Allowed capabilities are %v",
    [container.name, allowed_capabilities],
  )
}

violation[{"msg": msg}] {
  container := containers.without_ephemeral[_]
  dropped := {name | name := container.securityContext.capabilities.drop[_]}
  count({name | name := input.parameters.requiredDropCapabilities[_]} - dropped) > 0
  msg := sprintf(
    "container <%v> is not dropping all required capabilities. Container must drop all of %v",
    [container.name, input.parameters.requiredDropCapabilities],
  )
}

allowed(_) {
  allowed_capabilities[_] == "*"
}

allowed(name) {
  name == allowed_capabilities[_]
}
