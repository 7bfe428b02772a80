package container_disallowed_capabilities

import data.lib.containers
import data.lib.pod

disallowed = {plain(name) | name := input.parameters.disallowedCapabilities[_]}

violation[{"msg": msg}] {
  not pod.windows
  container := containers.all[_]
  is_disallowed(plain(container.securityContext.capabilities.add[_]))
  not containers.excluded(container)
  msg := sprintf(
    "container <%v> has a disallowed capability. Disallowed capabilities are %v",
    [container.name, input.parameters.disallowedCapabilities],
  )
}

# Runtimes take names with and without CAP_, in any case.
plain(name) = trim_prefix(upper(name), "CAP_")

is_disallowed(name) {
  disallowed[name]
}

# All capabilities: who adds them adds those of the list, and in the list they are each.
is_disallowed("ALL") {
  count(disallowed) > 0
}

is_disallowed(_) {
  disallowed[["ALL", "*"][_]]
}
