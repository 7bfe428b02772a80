package container_resource_requests

import data.lib.containers

judged = [container |
  container := containers.without_ephemeral[_]
  not containers.excluded_by_image(container)
]

# Limits need not stand in for requests: the API server fills these from those.
violation[{"msg": msg}] {
  container := judged[_]
  not container.resources.requests
  msg := sprintf("container <%v> has no resource requests", [container.name])
}

violation[{"msg": msg}] {
  container := judged[_]
  requests := container.resources.requests
  resource := ["cpu", "memory"][_]
  not requests[resource]
  msg := sprintf("container <%v> has no %v request", [container.name, resource])
}
