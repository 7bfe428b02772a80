package container_resource_limits

import data.lib.containers
import data.lib.pod
import data.lib.quantities

violation[{"msg": msg}] {
  entry := containers.checked[_]
  # The API server forbids resources there.
  entry.field != "ephemeralContainers"
  most := input.parameters[parameter]
  resource := {"cpuLimit": "cpu", "memoryLimit": "memory"}[parameter]
  msg := fault(entry.container, resource, most)
}

fault(container, resource, most) = msg {
  limit := limit_of(container, resource)
  not at_most(limit, most)
  msg := sprintf("Container %v must not have the %v limit %v; the highest allowed is %v.", [container.name, resource, limit, most])
}

fault(container, resource, most) = msg {
  not limit_of(container, resource)
  msg := sprintf("Container %v must have a %v limit; the highest allowed is %v.", [container.name, resource, most])
}

limit_of(container, resource) = limit {
  limit := container.resources.limits[resource]
  limit != null
} else = limit {
  limit := pod.spec.resources.limits[resource]
  limit != null
}

at_most(limit, most) {
  quantities.nanos(limit) <= quantities.nanos(most)
}
