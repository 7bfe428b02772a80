package windows_container_resources

import data.lib.containers
import data.lib.quantities
import data.lib.windows

violation[{"msg": msg}] {
  windows.is_meant
  container := containers.checked[_].container
  resource := ["cpu", "memory"][_]
  request := container.resources.requests[resource]
  not quantities.nanos(request) == 0
  not kept(container, resource)
  msg := sprintf("Container %v must not request more %v than its limit: %v is requested, the limit is %v.", [container.name, resource, request, limit(container, resource)])
}

kept(container, resource) {
  quantities.nanos(container.resources.requests[resource]) <= quantities.nanos(container.resources.limits[resource])
}

limit(container, resource) = value {
  value := container.resources.limits[resource]
  value != null
} else = "not set"
