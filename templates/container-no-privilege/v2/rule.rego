package container_no_privilege

import data.lib.containers
import data.lib.pod

violation[{"msg": msg}] {
  not pod.windows
  container := containers.all[_]
  container.securityContext.privileged
  not containers.excluded(container)
  msg := sprintf(
    "Privileged container is not allowed: %v, securityContext: %v",
    [container.name, container.securityContext],
  )
}
