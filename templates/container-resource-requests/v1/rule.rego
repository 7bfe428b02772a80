package container_resource_requests

import data.lib.containers
import data.lib.pod

violation[{"msg": msg}] {
  entry := containers.checked[_]
  # The API server forbids resources there.
  entry.field != "ephemeralContainers"
  resource := ["cpu", "memory"][_]
  not requested(entry.container, resource)
  msg := sprintf("Container %v must have a %v request.", [entry.container.name, resource])
}

# A limit without a request is the request too.
requested(container, resource) {
  container.resources[["requests", "limits"][_]][resource] != null
}

requested(_, resource) {
  pod.spec.resources[["requests", "limits"][_]][resource] != null
}
