package container_disallowed_capabilities

import data.lib.capabilities
import data.lib.containers

disallowed = capabilities.listed(input.parameters.disallowedCapabilities)

violation[{"msg": msg}] {
  count(disallowed) > 0
  container := containers.checked[_].container
  added := capabilities.named(container, "add")
  wrong := [name | added[name]; is_disallowed(name)]
  count(wrong) > 0
  msg := sprintf("Container %v must not add the capabilities %v.", [container.name, wrong])
}

is_disallowed(name) {
  disallowed[name]
}

is_disallowed(_) {
  capabilities.any_of(disallowed)
}

is_disallowed("ALL") = true
