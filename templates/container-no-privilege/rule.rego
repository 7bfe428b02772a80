package container_no_privilege

import data.lib.containers

violation[{"msg": msg}] {
  container := containers.without_ephemeral[_]
  container.securityContext.privileged
  msg := sprintf(
    "Privileged container is not allowed: %v, securityContext: %v",
    [container.name, container.securityContext],
  )
}
