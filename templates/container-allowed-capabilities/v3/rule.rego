package container_allowed_capabilities

import data.lib.capabilities
import data.lib.containers
import data.lib.pod

allowed = capabilities.listed(input.parameters.allowedCapabilities)

required = capabilities.listed(input.parameters.requiredDropCapabilities)

violation[{"msg": msg}] {
  not capabilities.any_of(allowed)
  container := containers.checked[_].container
  extra := capabilities.named(container, "add") - allowed
  count(extra) > 0
  msg := sprintf("Container %v must not add the capabilities %v; allowed: %v.", [container.name, sort(extra), sort(allowed)])
}

violation[{"msg": msg}] {
  not pod.windows
  container := containers.checked[_].container
  dropped := capabilities.named(container, "drop")
  not dropped.ALL
  kept := required - dropped
  count(kept) > 0
  msg := sprintf("Container %v must drop the capabilities %v.", [container.name, sort(kept)])
}
