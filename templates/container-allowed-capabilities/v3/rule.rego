package container_allowed_capabilities

import data.lib.containers
import data.lib.pod

allowed_capabilities = object.get(input.parameters, "allowedCapabilities", "NONE")

allowed = {lower(name) | name := input.parameters.allowedCapabilities[_]}

required = {lower(name) | name := input.parameters.requiredDropCapabilities[_]}

judged = [container |
  not pod.windows
  container := containers.all[_]
  not containers.excluded(container)
]

violation[{"msg": msg}] {
  not allowed["*"]
  container := judged[_]
  not allowed[lower(container.securityContext.capabilities.add[_])]
  msg := sprintf(
    "container <%v> has a disallowed capability. Allowed capabilities are %v",
    [container.name, allowed_capabilities],
  )
}

# The API server refuses capabilities on pods whose operating system is Windows.
violation[{"msg": msg}] {
  not pod.os_windows
  container := judged[_]
  dropped := {lower(name) | name := container.securityContext.capabilities.drop[_]}
  not dropped.all
  count(required - dropped) > 0
  msg := sprintf(
    "container <%v> is not dropping all required capabilities. Container must drop all of %v or \"ALL\"",
    [container.name, input.parameters.requiredDropCapabilities],
  )
}
