package windows_container_resources

import data.lib.containers
import data.lib.quantities
import data.lib.windows

judged[container] {
  windows.judged
  container := containers.without_ephemeral[_]
  not containers.excluded_by_image(container)
}

violation[{"msg": msg}] {
  judged[container]
  not limited(container)
  msg := sprintf("Container <%v> has missing resource limits", [container.name])
}

violation[{"msg": msg}] {
  judged[container]
  limited(container)
  resource := ["cpu", "memory"][_]
  request := container.resources.requests[resource]
  quantities.amount(request) != quantities.amount(container.resources.limits[resource])
  msg := sprintf("Container <%v> sets resource requests that do not match limits", [container.name])
}

limited(container) {
  container.resources.limits.cpu
  container.resources.limits.memory
}
